// Building the page: elements and text nodes only. Nothing here parses markup, so whatever a peer
// wrote stays text.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element. `props`: `class`, `on` (handlers by event), anything else is an attribute. */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** Make an SVG element. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    } else if (name === "class") {
      element.setAttribute("class", value);
    } else if (name === "vars") {
      for (const [variable, set] of Object.entries(value)) element.style.setProperty(variable, set);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** The element with an id; the page always has it. */
export function byId(id) {
  return document.getElementById(id);
}

/** Replace what an element holds. */
export function put(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
}

/** Set an element's text, touching the page only when it differs. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A group of buttons of which one is pressed. Returns a function that presses one. */
export function segments(container, choices, onChoose) {
  const buttons = choices.map(([value, label]) =>
    h("button", { type: "button", "aria-pressed": "false", "data-value": value,
      on: { click: () => { press(value); onChoose(value); } } }, label));
  function press(value) {
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.value === value));
    }
  }
  put(container, buttons);
  return press;
}
