"""Arithmetic of the compiled kernels: an exponential, powers of two, vectors.

The vectors live on the stack. Where the number of states is the length of a tuple, the
compiler knows it: it unrolls the loops over states and keeps the vectors in registers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj

from glmhmm_pyro.chain.compiler import compiled

if TYPE_CHECKING:
    from numba.core.base import BaseContext
    from numba.core.typing import Context, Signature

LOG_2 = 0.6931471805599453
_LOG2_E = 1.4426950408889634
# log(2) in two parts, the first of which has so few digits that an exponent times it is
# exact (Cody and Waite 1980).
_LOG_2_HIGH = 0.6931471803691238
_LOG_2_LOW = 1.9082149292705877e-10
# Added to a number it leaves the nearest integer in the lowest bits.
_ROUNDER = 1.5 * 2.0**52
# Polynomial of least greatest error (3e-18) of exp on [-log(2) / 2, log(2) / 2], by
# interpolation at Chebyshev's points in 50 digits.
_C0, _C1, _C2, _C3 = 1.0, 1.0, 0.5000000000000019, 0.1666666666666668
_C4, _C5, _C6 = 0.04166666666648795, 0.008333333333319589, 0.0013888888952352863
_C7, _C8, _C9 = 0.00019841269890076403, 2.4801485441561313e-05, 2.755724088722987e-06
_C10, _C11 = 2.763265472252779e-07, 2.5110049204818658e-08
# The same (1e-17) of 2 (atanh(s) / s - 1) / s^2 by s^2, where (1 + s) / (1 - s) lies
# between the roots of 1/2 and of 2.
_L0, _L1, _L2 = 0.666666666666667, 0.39999999999899505, 0.28571428625975487
_L3, _L4, _L5 = 0.2222221113479508, 0.18182889125261723, 0.15331721600556042
_L6 = 0.14616449685043406
_ROOT_HALF = 0.7071067811865476


def _cast_to(kind: ir.Type) -> Callable[..., ir.Value]:
    """Code of the bits of a number, read as those of another type."""

    def codegen(
        context: BaseContext,
        builder: ir.IRBuilder,
        signature: Signature,
        args: Sequence[ir.Value],
    ) -> ir.Value:
        return builder.bitcast(args[0], kind)

    return codegen


@intrinsic
def _bits(typingctx: Context, value: types.Type) -> Any:
    """The bits of a float64, as an int64."""

    return types.int64(types.float64), _cast_to(ir.IntType(64))


@intrinsic
def _from_bits(typingctx: Context, value: types.Type) -> Any:
    """The float64 of these bits."""

    return types.float64(types.int64), _cast_to(ir.DoubleType())


@intrinsic
def at(typingctx: Context, position: types.Type) -> Any:
    """An index that is known not to be negative, which saves a test of its sign."""

    return types.uint64(types.int64), _cast_to(ir.IntType(64))


@intrinsic
def stack_vector(typingctx: Context, states: types.Type) -> Any:
    """An array with as many elements as ``states``, a tuple or an array, on the stack.

    It lives until the function that calls this returns.
    """
    return _ON_STACK(states), _on_stack


@intrinsic
def stack_pairs(typingctx: Context, slow: types.Type, fast: types.Type) -> Any:
    """The same with an element for every pair of an element of each."""
    return _ON_STACK(slow, fast), _on_stack


_ON_STACK = types.Array(types.float64, 1, "C")


def _on_stack(
    context: BaseContext,
    builder: ir.IRBuilder,
    signature: Signature,
    args: Sequence[ir.Value],
) -> Any:
    """Code of an array with an element for every choice of one from each argument."""
    integer = context.get_value_type(types.intp)
    if all(isinstance(given, types.UniTuple) for given in signature.args):
        count = math.prod(given.count for given in signature.args)
        length = ir.Constant(integer, count)
        data = cgutils.alloca_once(builder, ir.ArrayType(ir.DoubleType(), count))
    else:
        length = ir.Constant(integer, 1)
        for given, arg in zip(signature.args, args):
            array = arrayobj.make_array(given)(context, builder, arg)
            length = builder.mul(length, builder.extract_value(array.shape, 0))
        data = builder.alloca(ir.DoubleType(), length)
    item = ir.Constant(integer, 8)
    result = arrayobj.make_array(_ON_STACK)(context, builder)
    arrayobj.populate_array(
        result,
        data=builder.bitcast(data, ir.DoubleType().as_pointer()),
        shape=[length],
        strides=[item],
        itemsize=item,
        meminfo=None,
    )
    return result._getvalue()


@compiled(reassociate=False)
def exp(x: float) -> float:
    """Exponential to one unit in the last place; 0 below -708, infinite above 709.

    Unlike the library's it has no branch, so that a loop over it works on eight numbers
    at once.
    """
    shifted = x * _LOG2_E + _ROUNDER
    power = shifted - _ROUNDER
    r = x - power * _LOG_2_HIGH
    r = r - power * _LOG_2_LOW
    y = _C11
    for c in (_C10, _C9, _C8, _C7, _C6, _C5, _C4, _C3, _C2, _C1, _C0):
        y = y * r + c
    y *= _from_bits((_bits(shifted) + 1023) << 52)
    y = np.inf if x > 709.0 else y
    return 0.0 if x < -708.0 else y


@compiled(reassociate=False)
def log(x: float) -> float:
    """Logarithm of a normal positive number to two units in the last place.

    Infinity and NaN stay what they are. Like :func:`exp` it has no branch.
    """
    power = (_bits(x) - _bits(_ROOT_HALF)) >> 52
    f = _from_bits(_bits(x) - (power << 52)) - 1.0
    s = f / (f + 2.0)
    z = s * s
    y = _L6
    for c in (_L5, _L4, _L3, _L2, _L1, _L0):
        y = y * z + c
    whole = _from_bits(_bits(_ROUNDER) + power) - _ROUNDER
    y = whole * _LOG_2_HIGH + (s * z * y + whole * _LOG_2_LOW + 2.0 * s)
    return y if x < np.inf else x


@compiled(inline=True)
def rescale(vector: np.ndarray) -> int:
    """Divide by the power of two below the sum, and return its exponent.

    What this does to a sum that is 0, subnormal, infinite or NaN is meaningless, and is
    found out by what the message ends in.
    """
    total = 0.0
    for i in range(len(vector)):
        total += vector[i]
    exponent = (_bits(total) >> 52) & 0x7FF
    factor = _from_bits((2046 - exponent) << 52)
    for i in range(len(vector)):
        vector[i] *= factor
    return exponent - 1023
