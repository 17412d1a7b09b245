from collections.abc import Callable
from typing import Any

class ExtType:
    code: int
    data: bytes

class UnpackException(Exception): ...
class ExtraData(ValueError): ...
class FormatError(ValueError, UnpackException): ...
class StackError(ValueError, UnpackException): ...
class OutOfData(UnpackException): ...

class Packer:
    def __init__(self, *, use_bin_type: bool = ..., strict_types: bool = ...) -> None: ...
    def pack(self, o: object) -> bytes: ...

def packb(o: object, *, use_bin_type: bool = ..., strict_types: bool = ..., default: Callable[[Any], Any] | None = ...) -> bytes: ...
def unpackb(
    packed: bytes | memoryview,
    *,
    raw: bool = ...,
    use_list: bool = ...,
    strict_map_key: bool = ...,
    object_pairs_hook: Callable[[Any], Any] | None = ...,
    list_hook: Callable[[Any], Any] | None = ...,
    ext_hook: Callable[[int, bytes], Any] | None = ...,
    timestamp: int = ...,
    max_str_len: int = ...,
    max_bin_len: int = ...,
    max_array_len: int = ...,
    max_map_len: int = ...,
    max_ext_len: int = ...,
) -> Any: ...
