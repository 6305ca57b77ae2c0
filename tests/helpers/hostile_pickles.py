"""Pickles that must be refused, with the reason."""

import struct


def deep(levels: int) -> bytes:
    return b"]" * levels + b"a" * (levels - 1) + b"."


NO_PICKLE_OF_PYTORCH = [
    (b"\x82\x01.", "opcode EXT1, which"),
    (b"\x83\x01\x00.", "opcode EXT2, which"),
    (b"\x84\x01\x00\x00\x00.", "opcode EXT4, which"),
    (b"Pstorage\n.", "opcode PERSID, which"),
    (b"\x96" + bytes(8) + b".", "opcode BYTEARRAY8, which"),
    (b"\x97.", "opcode NEXT_BUFFER, which"),
    (b"NQ.", "refers to something unknown"),
    (b"NNR.", "calls something that has no name"),
    (b"cbuiltins\ngetattr\n}Vx\n\x86R.", r"uses builtins\.getattr, which"),
    (b"cbuiltins\ngetattr\ncm\nC\nN\x86R.", r"uses builtins\.getattr, w"),
    (b"VSystem\n)R.", "calls something that has no name"),
    (b"cm\nC\nNR.", "calls something that has no name"),
    (b"cm\nC\n]R.", "calls something that has no name"),
    (b"\x80\x04K\x01K\x02\x93.", "a name in it is invalid"),
    (b"c\nx\n.", "a name in it is invalid"),
    (b"cos.\nx\n.", "a name in it is invalid"),
    (b"cos;rm\nx\n.", "a name in it is invalid"),
    (b"c" + b"x" * 300 + b"\nx\n.", "a name in it is invalid"),
    (b".", "damaged: pop from empty list"),
    (b"0.", "damaged"),
    (b"t.", "damaged"),
    (b"u.", "damaged"),
    (b"K\x01\x86.", "makes a tuple of missing values"),
    (b"g7\n.", "damaged"),
    (b"p7\n.", "damaged"),
    (b"N", "damaged: pickle exhausted"),
    (b"\xff.", "damaged: at position .*, opcode b'.xff' unknown"),
    (b"K\x01a.", "damaged"),
    (b"}K\x01K\x02K\x03(u.", "damaged|changes"),
    (b"}(K\x01u.", "damaged"),
    (b"K\x01K\x02a.", "changes a int in an unknown way"),
    (b"N(K\x01K\x02u.", "changes a NoneType in an unknown way"),
    (b"](K\x01\x90.", "changes a list in an unknown way"),
]

TOO_MUCH = [
    # Declared sizes that are not there.
    (b"\x8b\xff\xff\xff\x7fabc.", "damaged: not enough data"),
    (b"\x8d" + b"\xff" * 7 + b"\x0fabc.", "damaged: expected .* bytes"),
    (b"\x8e" + b"\xff" * 7 + b"\x0fabc.", "damaged: expected .* bytes"),
    (b"X\xff\xff\xff\xffabc.", "damaged: expected .* bytes"),
    (b"B\xff\xff\xff\xffabc.", "damaged: expected .* bytes"),
    (b"T\xff\xff\xff\x7fabc.", "damaged: expected .* bytes"),
    # Integers.
    (b"\x8b\xe8\x03\x00\x00" + b"\x7f" * 1000 + b".", "over 1024 bits"),
    (b"\x8a\xff" + b"\x7f" * 255 + b".", "over 1024 bits"),
    (b"L" + b"9" * 400 + b"L\n.", "over 1024 bits"),
    (b"I" + b"9" * 400 + b"\n.", "over 1024 bits"),
    (b"L" + b"9" * 9999 + b"L\n.", "damaged"),
    (b"I" + b"x" * 9999 + b"\n.", "damaged"),
    # Depth.
    (deep(201), "nested over 200 deep"),
    (deep(20_000), "nested over 200 deep"),
    (b"N" + b"\x85" * 20_000 + b".", "nested over 200 deep"),
    (b"]q\x00h\x00a.", "something in it holds itself"),
    (b"}q\x00K\x01](h\x00es.", "something in it holds itself"),
    # Values: 2 ** 40 of them, in tuples and in lists.
    (b"N" + b"q\x00h\x00\x86" * 40 + b".", "unfolds to over 16777216"),
    (b"N" + b"2\x86" * 40 + b".", "unfolds to over 16777216"),
    (b"]" + b"q\x00]h\x00ah\x00a" * 40 + b".", "unfolds to over 16777216"),
    # Keys: the hash of nested tuples takes as long as unfolding them.
    (b"}N" + b"2\x86" * 60 + b"Ns.", "key in it is not a plain one"),
    (b"}" + b"N" + b"\x85" * 20_000 + b"Ns.", "is not a plain one"),
    (b"}\x8a\x0a" + b"\x01" * 10 + b"Ns.", "key in it is not a plain one"),
    (b"\x8f(N" + b"2\x86" * 60 + b"\x90.", "is not a plain one"),
    (b"(N" + b"2\x86" * 60 + b"\x91.", "is not a plain one"),
    (b"}](K\x01etNs.", "damaged"),
    (b"}]Ns.", "is not a plain one"),
    # Copies of one long text, and tuples as keys.
    (
        b"c_codecs\nencode\nq\x00X\x00\x00\x10\x00"
        + b"x" * 2**20
        + b"Vlatin1\n\x86q\x010"
        + b"h\x00h\x01R0" * 65
        + b"N.",
        "too many copies",
    ),
    (
        b"cbuiltins\nset\nq\x00]("
        + b"N" * 2**13
        + b"e\x85q\x010"
        + b"h\x00h\x01R0" * 129
        + b"N.",
        "too many copies",
    ),
    (
        b"}"
        + b"".join(
            b"(M" + struct.pack("<H", i) + b"tNs" for i in range(2**14 + 1)
        )
        + b".",
        "too many copies",
    ),
    (
        b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        r"damaged: object of type 'int' has no len\(\)",
    ),
    (b"cbuiltins\nbytes\nM\xff\xff\x85R.", "damaged"),
]
