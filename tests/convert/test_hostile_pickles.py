"""Tests of pickles that want something run: nothing of it runs."""

import builtins
import codecs
import importlib
import itertools
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile_pickles import NO_PICKLE_OF_PYTORCH
from torch_files import (
    FORMS,
    Call,
    Name,
    pickled,
    save,
    save_pickle,
)
from torch_reading import (
    calling,
    error_of,
    read_pickle,
    refused,
    refused_pickle,
)

from keras_pspnet.convert.pickle_values import Placeholder


def attribute(owner: Any, name: str) -> Call:
    return calling("builtins", "getattr", owner, name)


def hostile(canary: Path) -> dict[str, tuple[Any, str]]:
    """What Python runs when it unpickles it, and whom a refusal names.

    Each makes the file `canary`; values are pickled, bytes are pickles.
    """
    shell = f"touch '{canary}'"
    python = f"open({str(canary)!r}, 'w').close()"
    # The module, by a name that it has in another.
    system = attribute(Name("shutil", "os"), "system")
    path = calling("pathlib", "Path", str(canary))
    nested = pickled(calling("os", "system", shell))[0]
    calls = {
        f"{module}.{name}": (calling(module, name, *args), f"{module}.{name}")
        for module, name, *args in (
            ("os", "system", shell),
            ("posix", "system", shell),
            ("builtins", "eval", python),
            ("builtins", "exec", python),
            # Of Python 2.
            ("__builtin__", "eval", python),
            ("subprocess", "check_call", ["touch", str(canary)]),
            ("pickle", "loads", nested),
            ("_pickle", "loads", nested),
            ("importlib", "import_module", canary.name),
            ("runpy", "_run_code", python, {}),
        )
    }
    return calls | {
        "getattr": (Call(system, (shell,)), "shutil.os"),
        "getattr of getattr": (
            Call(
                attribute(attribute(Name("os", "path"), "os"), "system"),
                (shell,),
            ),
            "os.path",
        ),
        "getattr of what is no name": (
            Call(attribute(path, "touch")),
            "pathlib.Path",
        ),
        "module of a harmless one": (
            Call(attribute(Name("uuid", "os"), "system"), (shell,)),
            "uuid.os",
        ),
        "attrgetter": (
            Call(
                Call(
                    calling("operator", "attrgetter", "system"),
                    (Name("shutil", "os"),),
                ),
                (shell,),
            ),
            "operator.attrgetter",
        ),
        "methodcaller": (
            Call(calling("operator", "methodcaller", "touch"), (path,)),
            "operator.methodcaller",
        ),
        "partial": (
            Call(calling("functools", "partial", Name("os", "system"), shell)),
            "functools.partial",
        ),
        "code": (
            Call(
                attribute(
                    calling("code", "InteractiveInterpreter"), "runsource"
                ),
                (python,),
            ),
            "code.InteractiveInterpreter",
        ),
        "map": (
            calling(
                "builtins",
                "list",
                calling("builtins", "map", Name("os", "system"), [shell]),
            ),
            "builtins.map",
        ),
        "INST": (f"(V{shell}\nios\nsystem\n.".encode(), "os.system"),
        "OBJ": (f"(cos\nsystem\nV{shell}\no.".encode(), "os.system"),
        "INST of a list": (
            f"((lVtouch\naV{canary}\naisubprocess\ncall\n.".encode(),
            "subprocess.call",
        ),
        "dropped again": (
            f"cos\nsystem\n(V{shell}\ntR0N.".encode(),
            "os.system",
        ),
        "state of a placeholder": (
            Call(
                Name("argparse", "Namespace"),
                state={"a": calling("os", "system", shell)},
            ),
            "os.system",
        ),
    }


@pytest.fixture
def canary(tmp_path, monkeypatch) -> Path:
    """A path at which nothing is; importing a module of its name makes it."""
    path = tmp_path / "canary"
    (tmp_path / "canary.py").write_text(f"open({str(path)!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "canary", raising=False)
    # What the standard library imports at its first use in a process.
    for name in ("cp437", "raw_unicode_escape"):
        codecs.lookup(name)
    return path


@pytest.mark.parametrize("name", hostile(Path("x")))
def test_nothing_runs_and_the_offender_is_named(
    tmp_path, canary, monkeypatch, name
) -> None:
    value, offender = hostile(canary)[name]
    contents = [value]
    if not isinstance(value, bytes):
        contents = [pickled(value, protocol)[0] for protocol in (2, 4)]

    def no_import(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("imported something")

    for content, form in itertools.product(contents, FORMS):
        path = save_pickle(tmp_path / "x.pth", content, form)
        with monkeypatch.context() as patch:
            patch.setattr(importlib, "import_module", no_import)
            patch.setattr(builtins, "__import__", no_import)
            message = error_of(path)
        assert f"it uses {offender}, which no state_dict() needs" in message
        assert not canary.exists()
    # Python does run it: the test would notice.
    pickle.loads(contents[0])
    assert canary.exists()


NOT_LISTED = (
    "module name",
    "torch load",
    "torch.storage _load_from_bytes",
    "torch.serialization load",
    "torch.jit load",
    "torch Tensor",
    "torch._utils _rebuild_tensor_v3",
    "torch._utils _import_dotted_name",
    "torch._tensor _rebuild_from_type_v2",
    "numpy load",
    "numpy.lib.npyio load",
    "numpy ndarray",
    "numpy.core.multiarray fromfile",
    "keras.models load_model",
    "tensorflow Module",
    "builtins __import__",
    "builtins open",
    "builtins list",
    "builtins type",
    "subprocess Popen",
    "sys exit",
    "runpy run_path",
    "shutil rmtree",
    "socket socket",
    "ctypes CDLL",
    "marshal loads",
    "types FunctionType",
    "types CodeType",
    "webbrowser open",
    "pty spawn",
    "nt system",
    "multiprocessing Process",
    "asyncio Runner",
    "io FileIO",
    "pathlib Path",
    "tempfile NamedTemporaryFile",
    "urllib.request Request",
    "http.server HTTPServer",
    "_codecs lookup",
    "codecs encode",
    "copyreg _reconstructor",
    "collections namedtuple",
    "unknown function",
    "unknown Class.method",
)


def test_all_that_is_callable_is_refused_by_name(tmp_path) -> None:
    for names in NOT_LISTED:
        module, name = names.split()
        offender = rf"it uses {re.escape(f'{module}.{name}')}, which"
        lines = f"{module}\n{name}\n".encode()
        for content in (
            pickled(calling(module, name, b"x"))[0],
            pickled(calling(module, name, b"x"), 4)[0],
            b"c" + lines + b")\x81.",  # NEWOBJ
            b"c" + lines + b")}\x92.",  # NEWOBJ_EX
            b"c" + lines + b")}K\x01K\x02s\x92.",
            b"(c" + lines + b"o.",  # OBJ
            b"(K\x01i" + lines + b".",  # INST
            b"c" + lines + b"}K\x01K\x02sb.",  # BUILD
            b"c" + lines + b"K\x01a.",  # APPEND
            b"c" + lines + b"K\x01K\x02s.",  # SETITEM
            b"c" + lines + b"(K\x01\x90.",  # ADDITEMS
        ):
            path = save_pickle(tmp_path / "x.pth", content, "legacy")
            refused(path, offender)
        # A name that nothing is done with is inert.
        content, _ = pickled(Name(module, name))
        assert read_pickle(tmp_path, content) == Placeholder(module, name)


def test_a_nested_file_is_not_opened(tmp_path, canary) -> None:
    inner = tmp_path / "inner"
    save(inner, calling("os", "system", f"touch '{canary}'"))
    value = calling("torch.storage", "_load_from_bytes", inner.read_bytes())
    path = save(tmp_path / "x.pth", {"weight": value})
    refused(path, r"it uses torch\.storage\._load_from_bytes, which")
    assert not canary.exists()


def test_attributes_set_by_a_file_have_no_effect(tmp_path, canary) -> None:
    # Python calls a __setstate__ that a file has set before.
    content = (
        "cargparse\nNamespace\n)\x81}V__setstate__\ncos\nsystem\nsb"
        f"Vtouch '{canary}'\nb."
    ).encode("latin-1")
    known = Placeholder("argparse", "Namespace")
    assert read_pickle(tmp_path, content) == known
    assert not canary.exists()
    pickle.loads(content)
    assert canary.exists()
    # Nor does a file reach the attributes of what there is.
    content = b"ctypes\nSimpleNamespace\n}V__class__\nK\x01sb."
    refused_pickle(tmp_path, content, r"uses types\.SimpleNamespace")
    for content in (b"}]b.", b"]}b.", b"}N}\x86b.", b"V\n}b.", b"N}b."):
        refused_pickle(tmp_path, content, "changes a .* in an unknown way")


@pytest.mark.parametrize(("content", "match"), NO_PICKLE_OF_PYTORCH)
def test_what_no_pickle_of_pytorch_has(tmp_path, content, match) -> None:
    refused_pickle(tmp_path, content, match)
