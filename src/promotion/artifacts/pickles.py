"""Recognise a pickle by what an unpickler would do with the bytes, whatever the file is called; nothing is unpickled.

Pickles of protocol 2 and later start with their protocol's number. Older ones, and those written to hide, do not: their
opcodes are followed with the arities of `pickletools`, as an unpickler would follow them, up to the first that it would
refuse. Ordinary text falls over within a few opcodes. An argument is only skipped, never decoded, because an unpickler
accepts arguments that `pickletools.genops` refuses, and whoever hides a pickle would start with one.
"""

from __future__ import annotations

import mmap
import pickletools
import re
import struct
from dataclasses import dataclass
from itertools import chain

from promotion.errors import ArtifactRefused

_OPCODES = {ord(opcode.code): opcode for opcode in pickletools.opcodes}
# The protocol, and an opcode behind it: raw numbers may start with the same two bytes.
_START = re.compile(rb"\x80[\x02-\x05][" + re.escape(bytes(_OPCODES)) + rb"]")
_JUNK = 64
_LONGEST = 500_000
"""Opcodes that are followed in one file, a second's worth."""
_LONGEST_NAME = 1000
_IMPORTS = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"})
_CALLS = frozenset({"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
# Nothing but torch's own unpickler knows persistent ids, and its pickles start with their protocol.
_REFUSED = frozenset({"PERSID", "BINPERSID"})
_TWO_LINES = frozenset({"GLOBAL", "INST"})
# What could be a module, and a name in one: prose after a `c` or `(i` is not, nor a heading underlined with hyphens.
_MODULE, _NAME = re.compile(rb"[\w.\x80-\xff-]+\n"), re.compile(rb"[\w.\x80-\xff]+\n")
_LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: "<B",
    pickletools.TAKEN_FROM_ARGUMENT4: "<i",
    pickletools.TAKEN_FROM_ARGUMENT4U: "<I",
    pickletools.TAKEN_FROM_ARGUMENT8U: "<Q",
}


class TooLong(ArtifactRefused):
    """What could be a pickle takes longer to follow than any that a file of a model begins with by chance."""


def is_pickle(data: bytes | mmap.mmap) -> bool:
    """Whether an unpickler would load these bytes, or import and call something before it stumbles.

    Args:
        data: A file's content from its first byte; what follows the pickle does not matter.

    Raises:
        TooLong: Nobody can say in a few seconds.
    """
    return _START.match(data) is not None or _Walk(data).loads()


def hidden_pickle(data: bytes | mmap.mmap) -> int | None:
    """Where a pickle that calls something begins behind other bytes, for a loader that skips them; None without one.

    Pickles that start with their protocol are found anywhere, older ones behind at most `_JUNK` bytes: raw numbers
    and text hold their opcodes too often.

    Raises:
        TooLong: Nobody can say in a few seconds.
    """
    starts = chain(range(1, min(_JUNK, len(data))), (found.start() for found in _START.finditer(data)))
    effort = _Effort()
    return next((start for start in starts if _Walk(data, start, effort).calls()), None)


@dataclass(slots=True)
class _Effort:
    """What all walks through one file may cost together: crafted bytes lead from everywhere to the end.

    Attributes:
        left: Opcodes that may still be followed.
        line: Where the line that was looked at last begins, as far as known, and where it ends.
    """

    left: int = _LONGEST
    line: tuple[int, int] = (0, 0)

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise TooLong("a file that could be a pickle takes too long to follow: save the model with skops")


class _Walk:
    """An unpickler without objects: it knows how many are on the stack, and where the marks are."""

    def __init__(self, data: bytes | mmap.mmap, start: int = 0, effort: _Effort | None = None) -> None:
        self._data = data
        self._effort = effort or _Effort()
        self._at = start
        # Objects above each mark; the last is the present stack.
        self._stacks = [0]
        self._imported = False

    def loads(self) -> bool:
        """Whether it calls something imported, or ends with something imported or with the last byte."""
        last = self._last_opcode()
        return last in _CALLS or (last == "STOP" and (self._imported or not self._data[self._at :].strip()))

    def calls(self) -> bool:
        """Whether it calls something imported."""
        return self._last_opcode() in _CALLS

    def _last_opcode(self) -> str | None:
        """The first that calls what was imported, or ends the pickle; None where an unpickler stumbles before."""
        while self._at < len(self._data):
            self._effort.step()
            opcode = _OPCODES.get(self._data[self._at])
            self._at += 1
            if opcode is None or opcode.name in _REFUSED or not self._skip_argument(opcode) or not self._pop(opcode):
                return None
            self._imported = self._imported or opcode.name in _IMPORTS
            if opcode.name == "STOP" or (self._imported and opcode.name in _CALLS):
                return opcode.name
            self._push(opcode)
        return None

    def _skip_argument(self, opcode: pickletools.OpcodeInfo) -> bool:
        """Whether the argument is all there, and a name where one is imported."""
        if opcode.arg is None:
            return True
        if opcode.arg.n == pickletools.UP_TO_NEWLINE:
            if opcode.name in _TWO_LINES:
                return all(part.fullmatch(self._short_line()) for part in (_MODULE, _NAME))
            return self._skip_line()
        length = opcode.arg.n
        if form := _LENGTHS.get(length):
            size = struct.calcsize(form)
            prefix = self._data[self._at : self._at + size]
            if len(prefix) < size:
                return False
            (following,) = struct.unpack(form, prefix)
            length = size + following
        self._at += length
        return length >= 0 and self._at <= len(self._data)

    def _short_line(self) -> bytes:
        """The rest of the line; nothing where it is longer than the name of any module."""
        start = self._at
        return self._data[start : self._at] if self._skip_line() and self._at - start < _LONGEST_NAME else b""

    def _skip_line(self) -> bool:
        """Whether the line ends."""
        begin, end = self._effort.line
        if not begin <= self._at < end:
            end = self._data.find(b"\n", self._at) + 1 or len(self._data) + 1
            self._effort.line = self._at, end
        self._at = min(end, len(self._data))
        return end <= len(self._data)

    def _pop(self, opcode: pickletools.OpcodeInfo) -> bool:
        """Whether the stack holds what the opcode takes."""
        taken = opcode.stack_before
        if pickletools.markobject in taken or (opcode.name == "POP" and not self._stacks[-1]):
            # Everything above the last mark goes, and the mark; what lies below it is taken as usual.
            if len(self._stacks) == 1:
                return False
            above = self._stacks.pop()
            if opcode.name == "OBJ" and not above:
                return False
            taken = taken[: taken.index(pickletools.markobject)] if pickletools.markobject in taken else []
        if self._stacks[-1] < len(taken):
            return False
        self._stacks[-1] -= len(taken)
        return True

    def _push(self, opcode: pickletools.OpcodeInfo) -> None:
        if opcode.name == "MARK":
            self._stacks.append(0)
        elif opcode.name != "POP_MARK":
            self._stacks[-1] += len(opcode.stack_after)
