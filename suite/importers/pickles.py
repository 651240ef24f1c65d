"""Reading a pickle that may hold NumPy arrays and built-in containers, and nothing else.

Unpickling runs whatever the file names. Here no name leads to real code: each admitted one leads to a stand-in of
this module, which takes the array's bytes, type and shape and makes a plain array itself. Everything else is refused
before it is called.
"""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.errors import SuiteError, first_line

_PLAIN_NUMBER = re.compile(r"[fiu][248]|[iu]1|b1")


def load(path: Path) -> Any:
    """The contents of the file, arrays wrapped: `as_array` unwraps one (NumPy scalars have no dimension).

    Unwrapping all of it at once would let a small file of references to references take forever.

    Raises:
        SuiteError: unreadable, truncated, or anything in it that is no array of numbers and no built-in container.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SuiteError(f"{path}: {error.strerror}") from error
    try:
        return _Unpickler(io.BytesIO(raw)).load()
    except _Refused as error:
        raise SuiteError(
            f"{path}: refused, the pickle names {error}; only NumPy arrays are read from pickles"
        ) from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise SuiteError(f"{path}: not a readable pickle of NumPy arrays ({first_line(error)})") from error


def as_array(value: object) -> NDArray[Any] | None:
    """The NumPy array that a value of the file stands for, None when it stands for none."""
    return value.array if isinstance(value, _Array) else None


class _Refused(Exception):
    """A global that is not on the list."""


class _Dtype:
    """Stands for ``numpy.dtype`` of a plain number."""

    __slots__ = ("dtype",)

    def __init__(self, code: object) -> None:
        if not isinstance(code, str) or _PLAIN_NUMBER.fullmatch(code) is None:
            raise _Refused(f"the array type {code!r}")
        self.dtype: np.dtype[Any] = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError("unknown byte order")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for ``numpy.ndarray``; `array` is None until the pickle has told its contents."""

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, kind, fortran, raw = state
        self.array = _plain_array(raw, kind, shape, "F" if fortran else "C")


class _Admitted:
    """A callable that stands for a NumPy function; without attributes, so that a pickle cannot change it."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> Any:
        raise NotImplementedError


class _MakeDtype(_Admitted):
    __slots__ = ()

    def __call__(self, *arguments: Any) -> _Dtype:
        return _Dtype(arguments[0])


class _NdarrayType(_Admitted):
    __slots__ = ()

    def __call__(self, *arguments: Any) -> Any:
        raise _Refused("a call of numpy.ndarray")


class _Reconstruct(_Admitted):
    __slots__ = ()

    def __call__(self, *arguments: Any) -> _Array:
        if len(arguments) != 3 or not isinstance(arguments[0], _NdarrayType):
            raise _Refused("an array of another class")
        return _Array()


class _FromBuffer(_Admitted):
    __slots__ = ()

    def __call__(self, *arguments: Any) -> _Array:
        raw, kind, shape, order = arguments
        result = _Array()
        result.array = _plain_array(raw, kind, shape, order)
        return result


class _Scalar(_Admitted):
    __slots__ = ()

    def __call__(self, *arguments: Any) -> _Array:
        kind, raw = arguments
        result = _Array()
        result.array = _plain_array(raw, kind, (), "C")
        return result


class _LatinBytes(_Admitted):
    """``_codecs.encode``, by which pickles of protocols 0 to 2 spell bytes."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> bytes:
        text, encoding = arguments
        if not isinstance(text, str) or encoding != "latin1":
            raise _Refused("_codecs.encode of something else than bytes")
        return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], _Admitted] = {
    ("numpy", "dtype"): _MakeDtype(),
    ("numpy", "ndarray"): _NdarrayType(),
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy.core.multiarray", "scalar"): _Scalar(),
    ("numpy._core.multiarray", "scalar"): _Scalar(),
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer(),
    ("numpy._core.numeric", "_frombuffer"): _FromBuffer(),
    ("_codecs", "encode"): _LatinBytes(),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise _Refused(f"{module}.{name}".encode("ascii", "backslashreplace").decode().replace("\n", " "))
        return _ADMITTED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("an object outside the file")


def _plain_array(raw: object, kind: object, shape: object, order: object) -> NDArray[Any]:
    if not isinstance(kind, _Dtype) or not isinstance(raw, bytes | bytearray) or order not in ("C", "F"):
        raise _Refused("an array of something else than numbers")
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("array shape is not a list of sizes")
    return np.frombuffer(bytes(raw), dtype=kind.dtype).reshape(shape, order=order)
