"""Every rule has a conda environment, and its pins are the project's."""

import ast
import re
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def pins(lines):
    return dict(line.strip().split("==") for line in lines if re.match(r"^\s*[\w.-]+==", line))


@pytest.mark.parametrize("environment", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda file: file.stem)
def test_an_environment_pins_what_the_project_pins(environment):
    project = pins((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    dependencies = yaml.safe_load(environment.read_text(encoding="utf-8"))["dependencies"]
    (pip,) = [part["pip"] for part in dependencies if isinstance(part, dict)]
    own = pins(pip)
    assert own
    assert len(own) == len(pip), "every package is pinned"
    assert own == {name: project[name] for name in own}


@pytest.mark.parametrize("environment", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda file: file.stem)
def test_what_loads_weights_onto_a_gpu_has_accelerate(environment):
    source = environment.read_text(encoding="utf-8")
    assert ("torch==" in source and "transformers==" in source) <= ("accelerate==" in source)


def test_every_rule_with_a_script_names_an_environment_that_exists():
    for file in sorted((ROOT / "rules").glob("*.smk")):
        source = file.read_text(encoding="utf-8")
        scripts = re.findall(r'script:\s+"\.\./scripts/(\w+\.py)"', source)
        environments = re.findall(r'conda:\s+"\.\./envs/(\w+\.yaml)"', source)
        assert len(environments) == len(scripts), file.name
        assert all((ROOT / "envs" / name).is_file() for name in environments)
        assert all((ROOT / "scripts" / name).is_file() for name in scripts)


def modules_of(file, known):
    """Add to ``known`` the modules that importing a file takes, those of malgeul's own on the way too; return them."""
    waiting = list(ast.parse(file.read_text(encoding="utf-8")).body)
    for node in waiting:
        if isinstance(node, ast.Import):
            named = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            named = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        else:
            is_there_in_any_case = not isinstance(node, ast.FunctionDef | ast.Try)
            if is_there_in_any_case and "TYPE_CHECKING" not in ast.unparse(node):
                waiting += [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.stmt)]
            continue
        for module in named - known:
            known.add(module)
            place = (ROOT / "scripts").joinpath(*module.split("."))
            for source in (place.with_suffix(".py"), place / "__init__.py"):
                if source.is_file():
                    modules_of(source, known)
    return known


def packages_with(names, known):
    """Add to ``known`` packages with all that they need; return them."""
    for name in set(map(canonicalize_name, names)) - known:
        known.add(name)
        try:
            needed = map(Requirement, requires(name) or [])
        except PackageNotFoundError:  # of another platform, or of an environment alone
            continue
        packages_with({one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})}, known)
    return known


@pytest.mark.parametrize("file", sorted((ROOT / "rules").glob("*.smk")), ids=lambda file: file.stem)
def test_an_environment_has_what_its_scripts_import(file):
    provided = packages_distributions()
    source = file.read_text(encoding="utf-8")
    named = re.findall(r'conda:\s+"\.\./envs/(\w+\.yaml)".*?script:\s+"\.\./(\S+)"', source, re.DOTALL)
    for environment, script in named:
        own = packages_with(pins((ROOT / "envs" / environment).read_text().replace("- ", "").splitlines()), set())
        for module in {name.partition(".")[0] for name in modules_of(ROOT / script, set())} - sys.stdlib_module_names:
            packages = set(map(canonicalize_name, provided.get(module, ())))
            assert module == "malgeul" or packages & own, f"{script} imports {module}, which {environment} lacks"


@pytest.mark.parametrize("file", sorted((ROOT / "rules").glob("*.smk")), ids=lambda file: file.stem)
def test_every_rule_has_log_benchmark_threads_resources_and_a_message(file):
    source = file.read_text(encoding="utf-8")
    rules = re.split(r"\n\s*rule ", source)[1:]
    for rule in rules:
        name = rule.split(":")[0].strip()
        for directive in ("log", "message", "conda", "script"):
            assert f"{directive}:" in rule, (name, directive)
        if name in {"verify", "prune"}:
            continue
        for directive in ("benchmark", "threads"):
            assert f"{directive}:" in rule, (name, directive)
        if name not in {"audit_run", "write_report", "check_audit"}:
            assert "mem_mb=growing(" in rule, name
            assert "runtime=growing(" in rule, name


@pytest.mark.parametrize("file", sorted((ROOT / "rules").glob("*.smk")), ids=lambda file: file.stem)
def test_no_rule_asks_for_zero_gpus(file):
    """With the executor for Kubernetes a job whose resources name the GPU at all has to name its manufacturer."""
    assert not re.search(r"^ +gpu=.*\b0\b", file.read_text(encoding="utf-8"), re.MULTILINE)


def test_constraints_are_pins_and_comments_alone():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#") and not re.fullmatch(r"[\w.-]+==[\w.+!-]+", line)] == []


def test_requirements_and_constraints_name_no_index():
    for name in ("requirements.txt", "requirements-models.txt", "requirements-dev.txt", "constraints.txt"):
        assert "://" not in (ROOT / name).read_text(encoding="utf-8")
        assert "--" not in (ROOT / name).read_text(encoding="utf-8")


def test_what_requirements_ask_for_is_pinned():
    project = {name.lower() for name in pins((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())}
    for file in ("requirements.txt", "requirements-models.txt", "requirements-dev.txt"):
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
            name = re.match(r"^[A-Za-z][\w.-]*", line)
            if name and "python_version" not in line:
                assert name[0].lower() in project, line
