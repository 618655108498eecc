"""README, docs and help: commands parse; paths, options, variables, links and anchors that they name are there."""

import inspect
import itertools
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning import Trainer

import experiments.command_line as command_line
import lightning_modules.landmarkers as landmarkers
import lightning_modules.methods as methods
from datamodules.experiment import Augmentation
from datamodules.setting import SettingDataModule
from experiments.artifacts.pretrained import Pretraining
from experiments.catalogue import command_modules
from experiments.cli import Machine, Paths
from lightning_modules.warping import WarperObjective

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "lightning_modules/shipped").glob("*.md")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
THEIRS = {"cd", "cp", "echo", "git", "mkdir", "pip", "pre-commit", "python3", "srun", "taskset", "torchrun", "wandb"}
"""Programs of others, whose options are not ours to check."""
OF_THE_ENVIRONMENT = {"CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OUT", "PYTHONPATH", "PYTHONUNBUFFERED", "WANDB_MODE"}
PLACEHOLDER = re.compile(r"…|<|\*|NAME|HOST|COMMAND|\bX\b|\bN\b")


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for _, language, text in FENCE.findall(page.read_text()) if language in languages]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def inline(page: Path) -> list[str]:
    return [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(page))]


def shell_lines() -> list[tuple[str, str]]:
    """Each command of a shell block, with its page; continued lines are joined and comments left out."""
    found = [(name, line) for name in command_modules() for line in examples(name)]
    for page in PAGES:
        for block in blocks(page, "sh", "bash"):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(str(page.relative_to(ROOT)), line) for line in lines if line.strip() and line.strip()[0] != "#"]
    return found


def examples(name: str) -> list[str]:
    """Those at the end of a command's help."""
    text = inspect.getdoc(command_line.command(name)) or ""
    lines = text.partition("Examples:\n")[2].splitlines()
    assert lines, f"{name} has no example"
    return [line.strip() for line in lines]


def commands(line: str) -> Iterator[list[str]]:
    """The words of each command of a line, without what is set for it and what it is prefixed with."""
    words = shlex.split(line, comments=True)
    for joined, group in itertools.groupby(words, key=lambda word: word in ("&&", "||", "|", ";")):
        given = [] if joined else list(itertools.dropwhile(lambda word: re.match(r"(export$|[A-Z_]+=)", word), group))
        if given[:1] == ["taskset"]:
            given = given[3:]
        if given:
            yield given


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that is up to date, whose Python writes down its arguments, a word a line."""
    folder = tmp_path_factory.mktemp("venv")
    python = folder / "bin/python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nfor word; do echo "$word" >> "{folder}/said"; done; echo >> "{folder}/said"\n')
    python.chmod(0o755)
    for name in ("ruff", "mypy"):
        (python.parent / name).symlink_to(python)
    for stamp in (".ready", ".predict", ".demo", ".docs"):
        (folder / stamp).touch()
    return folder


def made(venv: Path, words: list[str]) -> list[list[str]]:
    """The words of each run of Python that make makes of these."""
    said = venv / "said"
    said.unlink(missing_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "ARGS"))}
    done = subprocess.run([*words, f"VENV={venv}"], cwd=ROOT, capture_output=True, text=True, check=False, env=clean)
    assert done.returncode == 0, f"{shlex.join(words)}: {done.stderr}"
    return [run.split("\n") for run in said.read_text().strip("\n").split("\n\n")] if said.exists() else []


def parameters(found: Any) -> set[str]:
    """Those of a function, or of a class and what it inherits from."""
    functions = (
        [vars(one)["__init__"] for one in found.__mro__ if "__init__" in vars(one)]
        if isinstance(found, type)
        else [found]
    )
    return {name for function in functions for name in inspect.signature(function).parameters}


def all_parameters(module: Any) -> set[str]:
    return {name for each in module.__all__ for name in parameters(getattr(module, each))}


DOTTED: dict[str, set[str]] = {
    "trainer": parameters(Trainer.__init__),
    "data": parameters(SettingDataModule),
    "data.augmentation": parameters(Augmentation),
    "pretraining": parameters(Pretraining),
    "paths": parameters(Paths),
    "machine": parameters(Machine),
    "model.init_args": all_parameters(methods),
    "model.init_args.landmarker.init_args": all_parameters(landmarkers),
    "model.init_args.warper.init_args": parameters(WarperObjective),
}


def check_dotted(option: str) -> None:
    group, _, name = option.removeprefix("--").partition("=")[0].rpartition(".")
    assert name == "X" or name in DOTTED[group], f"{option}: {group} has no {name}"


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Parses the words of our program as it does, runs nothing, and checks dotted options."""
    real = command_line.command

    def stub(name: str) -> Callable[..., None]:
        function = real(name)

        def run(**options: Any) -> None:
            for option in options:
                if "." in option:
                    check_dotted(option)
                elif option == "config":
                    assert all((ROOT / file).is_file() for file in options[option] if "…" not in file), options[option]

        run.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
        run.__doc__ = function.__doc__
        return run

    monkeypatch.setattr(command_line, "command", stub)

    def parse(words: list[str]) -> None:
        if words[0] in command_line.LIGHTNING or words[-1] in ("--help", "--version"):
            assert words[0] in (*command_modules(), *command_line.LIGHTNING, "--help", "--version")
            return
        command_line._run(*words)

    return parse


def test_commands(venv: Path, parsed: Callable[[list[str]], None]) -> None:
    """Targets of make exist and take their variables; what they and other lines call takes its options."""
    seen: set[str] = set()
    for page, line in shell_lines():
        for words in commands(line):
            if (said := shlex.join(words)) in seen:
                continue
            seen.add(said)
            program, *rest = words
            assert program in {"make", "warpmark", "python", *THEIRS}, f"{page}: {line}"
            try:
                if program == "make":
                    known = variables() | OF_THE_ENVIRONMENT
                    assert [word for word in rest if "=" in word and word.partition("=")[0] not in known] == []
                    for run in made(venv, words):
                        if run[:2] == ["-m", "experiments"]:
                            parsed(run[2:])
                elif program == "warpmark" or rest[:2] == ["-m", "experiments"]:
                    parsed(rest if program == "warpmark" else rest[2:])
                elif program == "python":
                    assert (ROOT / rest[0]).is_file(), rest[0]
            except (ValueError, AssertionError, KeyError, SystemExit) as error:
                raise AssertionError(f"{page}: {line}: {error}") from error
    assert len(seen) > 40


def variables() -> set[str]:
    """The variables that the Makefile knows, by name."""
    text = (ROOT / "Makefile").read_text()
    return {*re.findall(r"^([A-Z]+) \?=", text, re.MULTILINE), *re.findall(r"\$\((?:value )?([A-Z]+)\)", text)} | {
        *re.findall(r"\((?:call (?:option|flag),)([A-Z_]+)", text)
    }


def targets() -> set[str]:
    text = (ROOT / "Makefile").read_text()
    return {*re.findall(r"^([a-z-]+):", text, re.MULTILINE), *re.findall(r"(?:table|figure)\d", text)}


def options() -> set[str]:
    """All options of all commands, as they are typed."""
    found = {name for command in command_modules() for name in parameters(command_line.command(command))}
    return {f"--{name.rstrip('_').replace('_', '-')}" for name in found} | {f"--{name}" for name in found}


def test_variables_targets_and_options_in_the_text() -> None:
    known, makes, typed = variables() | OF_THE_ENVIRONMENT, targets(), options() | {"--help", "--version", "--config"}
    typed |= {"--print_config", "--strict"}
    wrong: list[str] = []
    for page in PAGES:
        for code in inline(page):
            theirs = code.startswith(("srun", "torchrun", "pip ", "pre-commit", "wandb ", "mkdocs"))
            names = [name for name in re.findall(r"(?<![\w.$-])([A-Z]{2,}(?:_[A-Z]+)*)=", code) if name not in known]
            called = [name for name in re.findall(r"^make ([a-z][a-z0-9-]*)", code) if name not in makes]
            plain = re.findall(r"(?<!\S|[\"'=])-{2}[a-z][\w-]*(?![\w.-])", code) if not theirs else []
            unknown = [option for option in plain if option not in typed]
            wrong += [f"{page.relative_to(ROOT)}: {name} in `{code}`" for name in (*names, *called, *unknown)]
            for option in re.findall(r"--(?:trainer|data|model|pretraining|paths|machine)\.[\w.]+", code):
                try:
                    check_dotted(option)
                except (AssertionError, KeyError) as error:
                    wrong.append(f"{page.relative_to(ROOT)}: {error}")
    assert wrong == []


def test_paths_in_the_text() -> None:
    rooms = {path.name for path in ROOT.iterdir()} - {"runs"}
    wrong: list[str] = []
    for page in PAGES:
        for code in inline(page):
            for word in re.findall(r"[\w./-]+", code) if not PLACEHOLDER.search(code) else []:
                path = word.rstrip(".")
                if path.partition("/")[0] in rooms and "/" in path and not (ROOT / path).exists():
                    wrong.append(f"{page.relative_to(ROOT)}: {path}")
    assert wrong == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Markdown sites and GitHub name them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in plain}


def test_links() -> None:
    wrong: list[str] = []
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
            if link.startswith("https://"):
                continue
            path, _, anchor = link.partition("#")
            there = (page.parent / path).resolve() if path else page
            if not there.exists() or (anchor and anchor not in anchors(there)):
                wrong.append(f"{page.relative_to(ROOT)}: {link}")
            elif ROOT / "docs" in page.parents and ROOT / "docs" not in there.parents:
                wrong.append(f"{page.relative_to(ROOT)}: {link} leaves the site")
    assert wrong == []


def test_what_the_site_includes_has_no_relative_links() -> None:
    """Such a link cannot be right in both places: in the file itself, and on the page that includes it."""
    included = [
        ROOT / name
        for page in (ROOT / "docs").rglob("*.md")
        for name in re.findall(r'^--8<-- "(.+)"$', page.read_text(), re.M)
    ]
    links = {page.name: re.findall(r"\]\((?!https://)([^)\s]+)\)", prose(page)) for page in included}
    assert "CHANGELOG.md" in links
    assert {page: found for page, found in links.items() if found} == {}


def test_every_page_of_results_is_listed() -> None:
    folder = ROOT / "docs/results"
    listed = set(re.findall(r"\]\(([\w.-]+\.md)\)", (folder / "index.md").read_text()))
    assert listed == {page.name for page in folder.glob("*.md")} - {"index.md"}


def test_extras_exist() -> None:
    named = {
        extra for page in PAGES for some in re.findall(r"\.\[([\w,]+)\]", page.read_text()) for extra in some.split(",")
    }
    assert named - {*PROJECT["optional-dependencies"]} == set()


def test_every_choice_has_its_page() -> None:
    for kind in ("methods", "landmarkers"):
        files = {path.stem for path in (ROOT / "configs" / kind).glob("*.yaml") if "." not in path.stem}
        assert {path.stem for path in (ROOT / "docs" / kind).glob("*.md")} - {"index"} == files


def test_every_command_is_in_the_reference() -> None:
    page = (ROOT / "docs/api/commands.md").read_text()
    shown = {name for name, module in command_modules().items() if f"experiments.commands.{module}." in page}
    assert shown == {name for name in command_modules() if not name.startswith("bench-")}


def test_one_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_readme_is_short_and_has_a_picture() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 110
    assert "docs/images/warped.png" in text.partition("\n## ")[0]


def test_messages_in_troubleshooting_are_the_programs() -> None:
    """Each message of the tables is, up to what is filled in, in the source."""
    rooms = ("datamodules", "lightning_modules", "callbacks", "prediction", "experiments")
    sources = [path.read_text() for room in rooms for path in (ROOT / room).rglob("*.py")]
    page = (ROOT / "docs/troubleshooting.md").read_text()
    messages = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert len(messages) > 20
    # A literal may go on in the next line.
    joined = [re.sub(r'"\s*\n\s*f?"', "", text) for text in sources]
    assert [message for message in messages if not any(message in text for text in joined)] == []
