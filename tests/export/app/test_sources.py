"""The sources of the apps, as far as they can be checked without the SDKs: types in Kotlin, grammar in Swift."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from export.app.project import PLATFORMS
from tests.export.app.kotlin import SOURCES, compiled

ANDROID, IOS = (PLATFORMS[name].files for name in ("android", "ios"))
ID = "{http://schemas.android.com/apk/res/android}id"


def stubs(folder):
    """Write the files that stubs.txt holds."""
    _, *parts = Path(__file__).with_name("stubs.txt").read_text().split("\n=== ")
    for name, _, text in (part.partition("\n") for part in parts):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.slow  # the compiler needs 15 s
def test_the_android_app_has_the_types_of_android_and_litert(tmp_path):
    compiled(tmp_path / "app.jar", stubs(tmp_path / "stubs"), SOURCES)
    (tmp_path / "wrong.kt").write_text(
        "package kerascnn.app\n\nfun wrong(network: Network): ByteArray = network.run()\n"
    )
    with pytest.raises(AssertionError, match=r"no value passed for parameter 'input'"):
        compiled(tmp_path / "app.jar", stubs(tmp_path / "stubs"), SOURCES, tmp_path / "wrong.kt")


def test_layout_and_code_name_the_same_views():
    layout = ET.parse(ANDROID / "app/src/main/res/layout/main.xml")
    named = {element.get(ID).partition("/")[2]: element.tag for element in layout.iter() if element.get(ID)}
    code = (SOURCES / "kerascnn/app/MainActivity.kt").read_text()
    used = {name: kind for kind, name in re.findall(r"findViewById<(\w+)>\(R\.id\.(\w+)\)", code)}
    assert used == named
    ET.parse(ANDROID / "app/src/main/AndroidManifest.xml")


def problems(text):
    """Where a Swift parser stumbles."""
    tree_sitter = pytest.importorskip("tree_sitter")
    swift = pytest.importorskip("tree_sitter_swift")
    nodes = [tree_sitter.Parser(tree_sitter.Language(swift.language())).parse(text.encode()).root_node]
    found = []
    for node in nodes:
        found += [node.start_point] if node.is_error or node.is_missing else []
        nodes += node.children
    return found


@pytest.mark.parametrize("path", sorted(IOS.rglob("*.swift")), ids=lambda path: path.name)
def test_swift_is_parsed(path):
    text = path.read_text()
    assert problems(text) == []
    assert problems(text.replace("{", "(", 1)) != []


def test_the_xcode_project_is_whole():
    """Every object that it names is there, and every source file is compiled."""
    text = (IOS / "Classifier.xcodeproj/project.pbxproj").read_text()
    defined = re.findall(r"^\t\t([A-F0-9]{24})\b[^\n]*= \{", text, re.MULTILINE)
    assert len(defined) == len(set(defined))
    assert set(re.findall(r"\b[A-F0-9]{24}\b", text)) == set(defined)
    assert text.count("{") == text.count("}")
    listed = set(re.findall(r"lastKnownFileType = sourcecode\.swift; path = (\S+);", text))
    assert listed == {path.name for path in IOS.rglob("*.swift")}
    assert text.count(" in Sources */ = ") == len(listed)


def test_both_apps_read_what_is_written():
    """`model.json` has one form for both."""
    kotlin = (SOURCES / "kerascnn/app/Network.kt").read_text()
    keys = set(re.findall(r'"(\w+)"\)', kotlin)) - {"model"}
    assert keys == {
        *("name", "labels", "scores", "reading", "artifacts", "path", "title", "input", "output"),
        *("resize", "crop", "interpolation", "channel_order", "mean", "std"),
    }
    swift = "".join(path.read_text() for path in IOS.rglob("*.swift"))
    for key in keys:
        name = re.sub("_(.)", lambda found: found[1].upper(), key)
        assert re.search(rf"let {name}: ", swift), name
