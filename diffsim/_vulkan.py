"""Which Vulkan device this machine has, asked of its driver: Taichi can't be asked, and prints."""

from __future__ import annotations

import ctypes
import functools
import os
import struct
import sys
from dataclasses import dataclass

__all__ = ["Device", "device", "why_missing"]

_LIBRARIES = {"win32": ("vulkan-1.dll",), "darwin": ("libvulkan.1.dylib", "libMoltenVK.dylib")}
_API = 1 << 22 | 1 << 12  # Vulkan 1.1
_RANK = {2: 3, 1: 2, 3: 1}  # discrete, integrated and virtual GPUs, by how much they are preferred
_SOFTWARE = 4
# bytes in VkPhysicalDeviceProperties, and entries of VkPhysicalDeviceFeatures, of the specification
_TYPE, _NAME, _NAME_END, _BUFFER_RANGE = 16, 20, 276, 296 + 28
_PROPERTIES, _FEATURES = 1024, 256
_FLOAT64, _INT64 = 39, 40


@dataclass(frozen=True)
class Device:
    """A Vulkan device.

    Attributes:
        name: What its driver calls it.
        software: It is a processor, not a GPU: Mesa's lavapipe.
        doubles: It computes with f64.
        longs: It computes with i64.
        buffer: Bytes that one buffer may have.
    """

    name: str
    software: bool
    doubles: bool
    longs: bool
    buffer: int


class _Application(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("version", ctypes.c_uint32),
        ("engine", ctypes.c_char_p),
        ("engine_version", ctypes.c_uint32),
        ("api", ctypes.c_uint32),
    )


class _Instance(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application", ctypes.POINTER(_Application)),
        ("layers", ctypes.c_uint32),
        ("layer_names", ctypes.c_void_p),
        ("extensions", ctypes.c_uint32),
        ("extension_names", ctypes.c_void_p),
    )


def device() -> Device | None:
    """Return the device that Taichi would compute on, None where there is none.

    That of the number in `TI_VISIBLE_DEVICE`, else a discrete GPU, an integrated one, a virtual one, and a
    processor last.
    """
    return _asked()[0]


def why_missing() -> str:
    """Say why there is no device to compute on; empty where there is one."""
    return _asked()[1]


@functools.cache
def _asked() -> tuple[Device | None, str]:
    """Return the device, and why there is none."""
    library = _library()
    if library is None:
        return None, "no Vulkan loader (libvulkan) is installed"
    application = _Application(0, None, b"diffsim", 0, None, 0, _API)
    wanted = _Instance(1, None, 0, ctypes.pointer(application), 0, None, 0, None)
    instance = ctypes.c_void_p()
    if library.vkCreateInstance(ctypes.byref(wanted), None, ctypes.byref(instance)) != 0:
        return None, "no Vulkan driver is installed"
    try:
        found = _devices(library, instance)
    finally:
        library.vkDestroyInstance(instance, None)
    if not found:
        return None, "the Vulkan drivers here offer no device"
    given = os.environ.get("TI_VISIBLE_DEVICE", "")
    if given.isdigit() and int(given) < len(found):
        return found[int(given)][1], ""
    return max(found, key=lambda pair: pair[0])[1], ""


def _library() -> ctypes.CDLL | None:
    for name in _LIBRARIES.get(sys.platform, ("libvulkan.so.1",)):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _devices(library: ctypes.CDLL, instance: ctypes.c_void_p) -> list[tuple[int, Device]]:
    """Return all devices, with how much each is preferred."""
    count = ctypes.c_uint32()
    if library.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None) != 0:
        return []
    handles = (ctypes.c_void_p * count.value)()
    library.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles)
    return [_described(library, ctypes.c_void_p(handle)) for handle in handles[: count.value]]


def _described(library: ctypes.CDLL, handle: ctypes.c_void_p) -> tuple[int, Device]:
    told, able = ctypes.create_string_buffer(_PROPERTIES), ctypes.create_string_buffer(4 * _FEATURES)
    library.vkGetPhysicalDeviceProperties(handle, told)
    library.vkGetPhysicalDeviceFeatures(handle, able)
    kind = struct.unpack_from("I", told.raw, _TYPE)[0]
    features = struct.unpack_from(f"{_INT64 + 1}I", able.raw)
    name = told.raw[_NAME:_NAME_END].split(b"\0")[0].decode("utf-8", "replace")
    (room,) = struct.unpack_from("I", told.raw, _BUFFER_RANGE)
    made = Device(name, kind == _SOFTWARE, bool(features[_FLOAT64]), bool(features[_INT64]), room)
    return _RANK.get(kind, 0), made
