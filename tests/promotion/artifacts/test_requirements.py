"""Requirements that lead elsewhere are said; plain ones are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from promotion.artifacts.requirements import foreign_requirements

PLAIN = [
    "scikit-learn==1.9.1",
    "pandas>=2; python_version >= '3.11'",
    "xgboost-cpu[all]",
    "# see https://example.org",
    "numpy # -e",
    "torch==2.1.0+cu118",
    "numpy (>=1.0,<2)",
    "scikit-learn[alldeps] ~= 1.9 ; sys_platform == 'linux'",
]


@pytest.mark.parametrize("line", PLAIN)
def test_plain_requirements_are_no_news(tmp_path: Path, line: str) -> None:
    """Names, versions, extras, markers, comments."""
    (tmp_path / "requirements.txt").write_text(f"{line}\n")
    (tmp_path / "conda.yaml").write_text(
        f"dependencies:\n- python=3.11.7\n- pip:\n  - {line.partition(' #')[0]}\nname: env\n"
    )

    assert [] == foreign_requirements(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://packages.example/simple",
        "--extra-index-url=https://packages.example/simple",
        "-i https://packages.example",
        "--find-links ./wheels",
        "--trusted-host packages.example",
        "-e .",
        "--editable=./src",
        "scoring @ git+https://example.org/scoring.git",
        "git+ssh://git@example.org/scoring.git#egg=scoring",
        "https://example.org/scoring-1.0-py3-none-any.whl",
        "scoring @ file:///srv/scoring.whl",
        "./scoring",
        "../scoring",
        "/srv/scoring",
        "pandas --index-url https://packages.example",
        "-r other.txt",
        "-c constraints.txt",
        "-ihttps://packages.example",
        "--find=https://packages.example",
        "scoring@https://example.org/scoring.whl",
        "HTTPS://EXAMPLE.ORG/scoring.whl",
        "s3://bucket/scoring.whl",
        "scoring-1.0-py3-none-any.whl",
        "wheels/scoring",
        "${SCORING}",
        "hg+http://example.org/scoring",
    ],
)
@pytest.mark.parametrize("name", ["requirements.txt", "conda.yaml", "python_env.yaml"])
def test_requirements_that_lead_elsewhere_are_said(tmp_path: Path, name: str, line: str) -> None:
    """File, line and text, printable whatever it holds."""
    text = line if name == "requirements.txt" else f"- {line}"
    (tmp_path / name).write_text(f"dependencies:\n{text}\n" if name != "requirements.txt" else f"numpy\n{text}\n")

    assert [f"{name} line 2 installs from elsewhere: {text!a}"] == foreign_requirements(tmp_path)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    """A page is enough for requirements."""
    (tmp_path / "requirements.txt").write_text("numpy\n" * 200_000)

    assert ["requirements.txt is larger than 1 MB and was not read"] == foreign_requirements(tmp_path)


def test_a_line_that_goes_on_is_read_as_pip_reads_it(tmp_path: Path) -> None:
    """What is split over lines is one requirement; hashes and pip's harmless options are no news."""
    text = "numpy==1.0 \\\n  --hash=sha256:abc\n--only-binary :all:\nscoring \\\n  @ https://example.org/x.whl\n"
    (tmp_path / "requirements.txt").write_text(text)

    (found,) = foreign_requirements(tmp_path)

    assert found.startswith("requirements.txt line 4 installs from elsewhere: 'scoring ")


def test_what_mlflow_writes_is_no_news_and_channels_are(tmp_path: Path) -> None:
    """Its own environment refers to its own requirements; conda's channels are indexes."""
    (tmp_path / "python_env.yaml").write_text("python: 3.11.7\ndependencies:\n- -r requirements.txt\n")
    (tmp_path / "conda.yaml").write_text(
        "channels:\n- conda-forge\n- https://example.org/channel\ndependencies:\n- python=3.11.7\n"
        "- evil::numpy\n- pip: ['--extra-index-url https://example.org', mlflow]\n"
    )

    assert ["3", "6", "7"] == [line.split()[2] for line in foreign_requirements(tmp_path)]
    (tmp_path / "conda.yaml").write_text("dependencies: [")
    (broken,) = foreign_requirements(tmp_path)
    assert broken.startswith("conda.yaml:1: not readable as YAML")


@pytest.mark.parametrize("named", ["{conda: env/c.yaml, virtualenv: v.yaml}", "env/c.yaml"])
def test_the_files_that_the_model_names_are_read(tmp_path: Path, named: str) -> None:
    """MLflow rebuilds the environment from them, whatever they are called."""
    (tmp_path / "MLmodel").write_text(f"flavors: {{python_function: {{env: {named}}}}}\n")
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "c.yaml").write_text("dependencies:\n- pip:\n  - git+https://example.org/x.git\n")
    (tmp_path / "v.yaml").write_text("dependencies: [numpy]\n")

    (line,) = foreign_requirements(tmp_path)
    assert line.startswith("env/c.yaml line 3 installs from elsewhere")


def test_variables_of_an_environment_are_said(tmp_path: Path) -> None:
    """`PIP_INDEX_URL` among them needs no option."""
    (tmp_path / "conda.yaml").write_text("dependencies: [numpy]\nvariables:\n  PIP_INDEX_URL: https://example.org\n")

    (line,) = foreign_requirements(tmp_path)
    assert line.startswith("conda.yaml line 3 installs from elsewhere")


@pytest.mark.parametrize(("coding", "is_said"), [("utf-7", True), ("latin-1", True), ("utf-8", False)])
def test_another_encoding_is_said(tmp_path: Path, coding: str, is_said: bool) -> None:  # a case
    """A comment has pip read a file in it: `+AAo-` is a line break in UTF-7."""
    (tmp_path / "requirements.txt").write_text(f"# coding: {coding}\n# +AAo---index-url https://example.org\nnumpy\n")

    assert is_said == bool(foreign_requirements(tmp_path))
