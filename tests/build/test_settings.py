from collections.abc import Callable
from pathlib import Path

import pytest

from proxy_wasm.build.settings import Project, RunSettings, SettingsError

MakeProject = Callable[..., Path]


def write(directory: Path, text: str) -> Path:
    (directory / "pyproject.toml").write_text(text, "utf-8")
    (directory / "greeter.py").write_text("", "utf-8")
    return directory


def test_a_single_plugin_serves_every_root_id(make_project: MakeProject) -> None:
    project = Project.load(make_project('plugin = "greeter:Greeter"'))

    assert project.name == "greeter"
    assert project.plugins == {"": "greeter:Greeter"}
    assert project.dependencies == ()
    assert project.strip is False


def test_several_plugins_are_told_apart_by_root_id(make_project: MakeProject) -> None:
    project = Project.load(make_project('plugins = {greet = "greeter:Greeter", bye = "pkg.bye:Bye"}'))

    assert project.plugins == {"greet": "greeter:Greeter", "bye": "pkg.bye:Bye"}


def test_the_module_goes_to_dist_unless_the_settings_say_otherwise(make_project: MakeProject) -> None:
    directory = make_project()
    assert Project.load(directory).output == directory / "dist/greeter.wasm"

    directory = make_project('plugin = "greeter:Greeter"\noutput = "out/filter.wasm"')
    assert Project.load(directory).output == directory / "out/filter.wasm"


def test_what_run_takes_is_found_in_the_folder(make_project: MakeProject) -> None:
    assert Project.load(make_project()).run == RunSettings()
    directory = make_project(
        'plugin = "greeter:Greeter"\nrun = {configuration = "greeter.py", clusters = {users = "greeter.py"}}'
    )
    file = directory / "greeter.py"
    assert Project.load(directory).run == RunSettings(file, {"users": file})


def test_parts_of_cpython_to_keep_are_named_in_any_order(make_project: MakeProject) -> None:
    assert Project.load(make_project()).stdlib == ()
    directory = make_project('plugin = "greeter:Greeter"\nstdlib = ["sqlite3", "compile", "sqlite3"]')
    assert Project.load(directory).stdlib == ("compile", "sqlite3")


def test_the_sdk_itself_is_no_dependency_to_install(make_project: MakeProject) -> None:
    directory = make_project(
        project='name = "x"\ndependencies = ["proxy-wasm[envoy]>=0.1", "Proxy_Wasm", "PyJWT >= 2"]'
    )

    assert Project.load(directory).dependencies == ("PyJWT>=2",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "project: missing"),
        ("[project]\nversion = '1'\n[tool.proxy-wasm]\nplugin='a:B'", "project.name: missing"),
        ("[project]\nname = 3\n[tool.proxy-wasm]\nplugin='a:B'", "project.name: must be a string, not a number"),
        ("[project]\nname = '../x'\n[tool.proxy-wasm]\nplugin='a:B'", "project.name: '../x' is no project name"),
        ("[project]\nname = 'x'", "tool.proxy-wasm: missing"),
        ("[project]\nname = 'x'\n[tool]\nproxy-wasm = 1", "tool.proxy-wasm: must be a table, not a number"),
        ("[project]\nname = 'x'\n[tool.proxy-wasm]", "tool.proxy-wasm.plugin: missing"),
        (
            "[project]\nname = 'x'\n[tool.proxy-wasm]\nplugn = 'a:B'",
            "tool.proxy-wasm.plugn: unknown key; did you mean 'plugin'?",
        ),
        (
            "[project]\nname = 'x'\n[tool.proxy-wasm]\nplugin = 'a:B'\ncolour = 1",
            "tool.proxy-wasm.colour: unknown key; known are plugin, plugins, output, strip, stdlib, run",
        ),
        (
            "[project]\nname = 'x'\n[tool.proxy-wasm]\nplugin = ['a:B']",
            'tool.proxy-wasm.plugin: must be a string, "module:Class", not an array',
        ),
        (
            "[project]\nname = 'x'\n[tool.proxy-wasm]\nplugin = 'a.B'",
            "tool.proxy-wasm.plugin: must name a class as \"module:Class\", not 'a.B'",
        ),
        (
            "[project]\nname = 'x'\n[tool.proxy-wasm]\nplugin = 'a:B'\nplugins = {a = 'a:B'}",
            "tool.proxy-wasm.plugins: give either plugin or plugins, not both",
        ),
        ("[project]\nname = 'x'\n[tool.proxy-wasm]\nplugins = {}", "tool.proxy-wasm.plugins: needs at least one entry"),
        (
            "[project]\nname = 'x'\n[tool.proxy-wasm.plugins]\nauth = 1",
            'tool.proxy-wasm.plugins.auth: must be a string, "module:Class", not a number',
        ),
        (
            "[project]\nname = 'x'\n[tool.proxy-wasm.plugins]\nauth = ''",
            "tool.proxy-wasm.plugins.auth: must name a class",
        ),
        (
            "[project]\nname = 'x'\n[tool.proxy-wasm]\nplugin = 'a:B'\nstdlib = 'math'",
            "tool.proxy-wasm.stdlib: must be an array of names, not a string",
        ),
        (
            "[project]\nname = 'x'\n[tool.proxy-wasm]\nplugin = 'a:B'\nstdlib = ['math', 1]",
            "tool.proxy-wasm.stdlib[1]: must be a name, a string, not a number",
        ),
        (
            "[project]\nname = 'x'\n[tool.proxy-wasm]\nplugin = 'a:B'\nstdlib = ['sqlite']",
            "tool.proxy-wasm.stdlib[0]: there is no part 'sqlite' of CPython to keep; did you mean 'sqlite3'?",
        ),
        (
            "[project]\nname = 'x'\n[tool.proxy-wasm]\nplugin = 'a:B'\nstdlib = ['????']",
            "tool.proxy-wasm.stdlib[0]: there is no part '????' of CPython to keep; known are compile, array,",
        ),
        (
            "[project]\nname = 'x'\n[tool.proxy-wasm]\nplugin = 'a:B'\nstrip = 'yes'",
            "tool.proxy-wasm.strip: must be true or false, not a string",
        ),
        (
            "[project]\nname = 'x'\n[tool.proxy-wasm]\nplugin = 'a:B'\noutput = ''",
            "tool.proxy-wasm.output: must not be empty",
        ),
        (
            "[project]\nname = 'x'\n[tool.proxy-wasm]\nplugin = 'a:B'\nrun = {port = 1}",
            "tool.proxy-wasm.run.port: unknown key",
        ),
        (
            "[project]\nname = 'x'\n[tool.proxy-wasm]\nplugin = 'a:B'\nrun = {configuration = 'no.json'}",
            "tool.proxy-wasm.run.configuration: there is no file 'no.json' in the extension's folder",
        ),
        (
            "[project]\nname = 'x'\n[tool.proxy-wasm]\nplugin = 'a:B'\nrun = {clusters = {users = 4000}}",
            "tool.proxy-wasm.run.clusters.users: must be a string, not a number",
        ),
        (
            "[project]\nname = 'x'\ndependencies = 'PyJWT'\n[tool.proxy-wasm]\nplugin = 'a:B'",
            "project.dependencies: must be an array of requirements, not a string",
        ),
        (
            "[project]\nname = 'x'\ndependencies = ['idna', 2]\n[tool.proxy-wasm]\nplugin = 'a:B'",
            "project.dependencies[1]: must be a requirement, a string, not a number",
        ),
        (
            "[project]\nname = 'x'\ndependencies = ['idna', 'PyJWT=>2']\n[tool.proxy-wasm]\nplugin = 'a:B'",
            "project.dependencies[1]: 'PyJWT=>2' is no requirement",
        ),
        (
            "[project]\nname = 'x'\nrequires-python = '<3.13'\n[tool.proxy-wasm]\nplugin = 'a:B'",
            "project.requires-python: '<3.13' excludes Python 3.14",
        ),
        (
            "[project]\nname = 'x'\nrequires-python = 'three'\n[tool.proxy-wasm]\nplugin = 'a:B'",
            "project.requires-python: 'three' is no version specifier",
        ),
        ("[project\n", "(at line 1, column 9)"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Project.load(write(tmp_path, text))

    assert str(raised.value).startswith(f"{tmp_path / 'pyproject.toml'}: ")
    assert message in str(raised.value)


def test_a_folder_without_settings_is_no_extension(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"holds no pyproject\.toml; give the folder of an extension"):
        Project.load(tmp_path)
    with pytest.raises(SettingsError, match="is no folder"):
        Project.load(tmp_path / "nowhere")


def test_settings_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(SettingsError, match=r"pyproject\.toml: "):
        Project.load(tmp_path)


def test_a_folder_is_known_as_an_extension_by_its_table(make_project: MakeProject, tmp_path: Path) -> None:
    assert Project.is_project(make_project())
    assert not Project.is_project(tmp_path)


def test_modules_and_packages_are_sources_and_tests_are_not(make_project: MakeProject) -> None:
    directory = make_project(
        files={
            "rules/__init__.py": "",
            "rules/deep/match.py": "",
            "rules/words.json": "{}",
            "rules/test_match.py": "",
            "rules/tests/data.json": "",
            "rules/__pycache__/x.pyc": "",
            "notes/readme.py": "",
            "test_greeter.py": "",
            "greeter_test.py": "",
            "conftest.py": "",
            "setup.py": "",
            "tests/__init__.py": "",
            "dist/old.py": "",
            ".venv/lib/site.py": "",
            "README.md": "",
        }
    )

    assert list(Project.load(directory).sources) == [
        "greeter.py",
        "rules/__init__.py",
        "rules/deep/match.py",
        "rules/words.json",
    ]


def test_a_src_folder_is_where_modules_are_imported_from(make_project: MakeProject) -> None:
    directory = make_project(files={"src/filters/__init__.py": "", "src/one.py": ""})

    project = Project.load(directory)

    assert list(project.sources) == ["filters/__init__.py", "one.py"]
    assert project.source_root == directory / "src"


def test_an_extension_without_modules_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "[project]\nname = 'x'\n[tool.proxy-wasm]\nplugin = 'a:B'")
    (tmp_path / "greeter.py").unlink()

    with pytest.raises(SettingsError, match="no Python modules are here"):
        Project.load(tmp_path)


@pytest.mark.parametrize(("name", "owner"), [("json.py", "the standard library's"), ("proxy_wasm.py", "Proxy-Wasm's")])
def test_a_module_that_the_import_would_not_find_is_refused(make_project: MakeProject, name: str, owner: str) -> None:
    directory = make_project(files={name: ""})

    with pytest.raises(SettingsError) as raised:
        Project.load(directory)

    assert f"{directory / name}: the name {name.removesuffix('.py')!r} is {owner}" in str(raised.value)
