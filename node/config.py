"""Settings: flag > `SWARM_*` environment variable > `config.toml` > default.

The command line reads flags and environment; this module reads and checks the file, and holds the
result as one frozen value.
"""

import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from node.errors import ConfigError

_FILE_BYTES_MAX: Final = 64 * 1024
DEFAULT_LISTEN: Final = "/ip4/127.0.0.1/tcp/0"
WORKERS_MAX: Final = 64
_AMOUNT_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Config:
    """How a node runs.

    Attributes:
        listen: Multiaddress to listen on.
        advertise: Addresses told to others instead of those listened on.
        bootstrap: Addresses of peers to join through.
        workers: Training runs at the same time; None for one on each core, as memory allows.
        sandbox: `auto`, `bubblewrap`, `landlock`, or `seatbelt`, which is consent to macOS's weaker
            sandbox.
        agent: `auto` (Claude where ANTHROPIC_API_KEY is set, else offline), `claude`, `offline`, or
            `none` for a node that only verifies.
        agent_model: Name of Claude's model; empty for the default.
        agent_effort: How hard it thinks; empty leaves that to the model.
        agent_max_usd: Most US dollars that it may cost in all.
        agent_max_usd_per_day: Most US dollars that it may cost in a day (UTC).
        agent_max_tokens: Most tokens in all; None for no limit of its own.
        agent_max_tokens_per_day: Most tokens in a day; None for no limit of its own.
        agent_price_usd: Input and output price of a million tokens; None for the list price.
        pause_on_battery: Whether to rest while the machine runs on its battery.
        pause_load: Other programs' load per core from which to rest; 0 for never.
        seed: Seeds the agent's choices; None derives them from the identity.
        device: What to compute on: `auto`, `cpu`, `cuda` or `mps`; see `node.devices`.
        gpu: Whether strangers' code may use this machine's GPU, with the risk that this carries.
        role: `agent`, or `observer` for a node that runs no code and signs no record.
        web: Whether to serve the leaderboard page.
        web_host: IP address to serve it on.
        web_port: Port to serve it on; 0 for any free one.
        web_name: Host names under which the page may be asked for, besides addresses.
    """

    listen: str = DEFAULT_LISTEN
    advertise: tuple[str, ...] = ()
    bootstrap: tuple[str, ...] = ()
    workers: int | None = None
    sandbox: str = "auto"
    agent: str = "auto"
    agent_model: str = ""
    agent_effort: str = ""
    agent_max_usd: float = 20.0
    agent_max_usd_per_day: float = 5.0
    agent_max_tokens: int | None = None
    agent_max_tokens_per_day: int | None = None
    agent_price_usd: tuple[float, float] | None = None
    pause_on_battery: bool = True
    pause_load: float = 0.0
    seed: int | None = None
    gpu: bool = False
    device: str = "auto"
    role: str = "agent"
    web: bool = False
    web_host: str = "127.0.0.1"
    web_port: int = 8420
    web_name: tuple[str, ...] = ()


_CHOICES: Final = {
    "sandbox": ("auto", "bubblewrap", "landlock", "seatbelt"),
    "agent": ("auto", "claude", "offline", "none"),
    "device": ("auto", "cpu", "cuda", "mps"),
    "agent_effort": ("", "low", "medium", "high", "xhigh", "max"),
    "role": ("agent", "observer"),
}


_LISTED: Final = {"bootstrap": "addresses", "advertise": "addresses", "web_name": "names"}


def read_config(path: Path) -> dict[str, Any]:
    """Read `config.toml`; a missing file is an empty one.

    Raises:
        ConfigError: Not TOML, an unknown key, or a value of the wrong type; the text names it.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > _FILE_BYTES_MAX:
        raise ConfigError(f"{path} is larger than {_FILE_BYTES_MAX} bytes")
    try:
        values = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from error
    known = {item.name for item in fields(Config)}
    for name in values:
        if name not in known:
            raise ConfigError(
                f"{path}: unknown setting {name!r}; known: {', '.join(sorted(known))}"
            )
    return {name: _checked(path, name, value) for name, value in values.items()}


def _checked(path: Path, name: str, value: Any) -> Any:
    match name:
        case "workers" | "seed" | "agent_max_tokens" | "agent_max_tokens_per_day":
            return _whole(path, name, value)
        case "agent_max_usd" | "agent_max_usd_per_day" | "pause_load":
            return _amount(path, name, value)
        case "agent_price_usd":
            if not isinstance(value, list) or len(value) != 2:
                raise ConfigError(f"{path}: {name} must be [input, output] per million tokens")
            return tuple(_amount(path, name, item) for item in value)
        case "web" | "gpu" | "pause_on_battery":
            if not isinstance(value, bool):
                raise ConfigError(f"{path}: {name} must be true or false")
            return value
        case "web_port":
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 16:
                raise ConfigError(f"{path}: {name} must be a port number")
            return value
        case "bootstrap" | "advertise" | "web_name":
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise ConfigError(f"{path}: {name} must be a list of {_LISTED[name]}")
            return tuple(value)
        case _:
            if not isinstance(value, str):
                raise ConfigError(f"{path}: {name} must be text")
            if name in _CHOICES and value not in _CHOICES[name]:
                raise ConfigError(f"{path}: {name} must be one of {', '.join(_CHOICES[name])}")
            return value


def _whole(path: Path, name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{path}: {name} must be a whole number")
    if name == "workers" and not 1 <= value <= WORKERS_MAX:
        raise ConfigError(f"{path}: {name} must be between 1 and {WORKERS_MAX}")
    if name != "seed" and value < 0:
        raise ConfigError(f"{path}: {name} must not be negative")
    return value


def _amount(path: Path, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{path}: {name} must be a number")
    if not 0 <= value <= _AMOUNT_MAX:
        raise ConfigError(f"{path}: {name} must be between 0 and {_AMOUNT_MAX}")
    return float(value)


def make_config(path: Path, flags: dict[str, Any]) -> Config:
    """Combine the file with flags (and environment variables, which `click` already merged).

    Args:
        path: The configuration file.
        flags: Values given on the command line or in the environment; None and () mean not given.

    Raises:
        ConfigError: The file is wrong.
    """
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    return Config(**{**read_config(path), **given})


def chosen_sandbox(path: Path) -> str:
    """Return the sandbox that the environment or the settings name, for commands without a flag.

    Raises:
        ConfigError: The settings are wrong.
    """
    named = os.environ.get("SWARM_SANDBOX") or read_config(path).get("sandbox")
    return str(named or Config().sandbox)


def expand_bootstrap(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Replace `@FILE` by the addresses in that file, one a line.

    Raises:
        ConfigError: A file cannot be read, or holds no address.
    """
    expanded: list[str] = []
    for address in addresses:
        if not address.startswith("@"):
            expanded.append(address)
            continue
        path = Path(address[1:]).expanduser()
        try:
            lines = path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read addresses from {path}: {error}") from error
        if not lines:
            raise ConfigError(f"{path} holds no address yet")
        expanded.extend(lines)
    return tuple(expanded)
