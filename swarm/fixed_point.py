"""Fixed-point arithmetic on Python integers: the numbers behind a verdict, equal to the bit.

A fixed-point number is an integer that stands for itself divided by 2^BITS. Every operation here
is built from integer operations that round down, so every machine, Python version and compiler
gives the same bits. Floating point would not: `math.exp` and friends differ between C libraries,
and two nodes that disagree in the last bit of a verdict disagree about the head for ever.

This file knows only numbers. What they are evidence for is decided in `swarm.evidence`.
"""

from functools import cache
from math import isqrt
from typing import Final

BITS: Final = 512
"""Fraction bits. The t distribution's tail is multiplied by likelihood ratios of up to about 10^91
(64 pairs), so 154 decimal digits leave 60 correct ones where cancellation is at its worst."""

ONE: Final = 1 << BITS
"""The number one."""


def ratio(numerator: int, denominator: int) -> int:
    """Quotient of two integers, rounded down."""
    return (numerator << BITS) // denominator


def multiply(left: int, right: int) -> int:
    """Product of two fixed-point numbers, rounded down."""
    return (left * right) >> BITS


def power(base: int, exponent: int) -> int:
    """Non-negative integer power of a fixed-point number, by squaring."""
    assert exponent >= 0
    result = ONE
    while exponent:
        if exponent & 1:
            result = multiply(result, base)
        base = multiply(base, base)
        exponent >>= 1
    return result


def square_root(value: int) -> int:
    """Square root of a non-negative fixed-point number, rounded down."""
    return isqrt(value << BITS)


def arctangent(value: int) -> int:
    """Arc tangent of a non-negative fixed-point number, in radians.

    Large arguments are turned into their reciprocals; the rest is halved (arctan x =
    2 arctan(x / (1 + sqrt(1 + x^2)))) until the Taylor series gains eight bits a term.
    """
    assert value >= 0
    if value > ONE:
        return half_pi() - arctangent(ratio(ONE, value))
    halvings = 0
    while value >> (BITS - 4):
        root = square_root(ONE + multiply(value, value))
        value = ratio(value, ONE + root)
        halvings += 1
    return _arctangent_series(value) << halvings


@cache
def half_pi() -> int:
    """Half of pi, by Machin's formula: pi / 4 = 4 arctan(1/5) - arctan(1/239)."""
    return 2 * (4 * _arctangent_series(ONE // 5) - _arctangent_series(ONE // 239))


def _arctangent_series(value: int) -> int:
    """Arc tangent of a small non-negative number by x - x^3/3 + x^5/5 - ..."""
    square = multiply(value, value)
    term, total, divisor, sign = value, 0, 1, 1
    while term:
        total += sign * (term // divisor)
        term = multiply(term, square)
        divisor += 2
        sign = -sign
    return total


def student_t_cdf(degrees: int, sine_squared: int, *, negative: bool) -> int:
    """Distribution function of Student's t for a whole number of degrees of freedom.

    The closed finite sums of Abramowitz & Stegun (1964), 26.7.3 and 26.7.4, in the angle
    theta = arctan(t / sqrt(degrees)): algebraic for even degrees, with theta itself for odd ones.

    Args:
        degrees: Degrees of freedom, at least 1.
        sine_squared: sin^2(theta) = t^2 / (degrees + t^2), in [0, 1], in fixed point.
        negative: Whether t is below zero.
    """
    assert degrees >= 1
    assert 0 <= sine_squared <= ONE
    sine = square_root(sine_squared)
    cosine_squared = ONE - sine_squared
    cosine = square_root(cosine_squared)
    if degrees % 2 == 0:
        within = multiply(sine, _cosine_sum(degrees, cosine_squared, first=ONE))
    else:
        theta = half_pi() if cosine == 0 else arctangent(ratio(sine, cosine))
        if degrees > 1:
            theta += multiply(sine, _cosine_sum(degrees, cosine_squared, first=cosine))
        within = ratio(theta, half_pi())
    within = min(within, ONE)
    return (ONE - within if negative else ONE + within) >> 1


def _cosine_sum(degrees: int, cosine_squared: int, *, first: int) -> int:
    """The finite sum in powers of the cosine that both closed forms share.

    Even degrees: 1 + 1/2 c^2 + (1 3)/(2 4) c^4 + ... up to c^(degrees - 2).
    Odd degrees: c + 2/3 c^3 + (2 4)/(3 5) c^5 + ... up to c^(degrees - 2).
    """
    term, total = first, first
    for power_before in range(degrees % 2 + 1, degrees - 2, 2):
        term = multiply(term, cosine_squared) * power_before // (power_before + 1)
        total += term
    return total
