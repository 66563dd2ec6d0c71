"""A configuration is parsed as intended, or refused with a message that says what to do."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ssi_pipeline.config import RunConfig, differences, digest, flatten, load_config, parse_config
from ssi_pipeline.errors import ConfigError

MINIMAL: dict[str, Any] = {
    "input": {"path": "in.zarr"},
    "output": {"path": "out.zarr"},
    "psf": {"kind": "gaussian", "fwhm_px": {"y": 2, "x": 2}},
}

KINDS = (
    "'file', 'gaussian', 'widefield', 'gibson_lanni', 'confocal', 'light_sheet', 'two_photon', 'varying' or 'identity'"
)

JARGON = (
    "Input",
    "tag",
    "discriminator",
    "constrained",
    "dict[",
    "literal",
    "Literal",
    "valid tuple",
    "instance",
    "Value error",
)


def document(**changes: Any) -> dict[str, Any]:
    """The minimal configuration with changes: ``a__b=1`` sets b in section a."""
    made = copy.deepcopy(MINIMAL)
    for name, value in changes.items():
        *sections, key = name.split("__")
        place = made
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return made


AXES = "input: axes is '{}': expected y and x, optionally t, c and z, each once, in the file's order"


def complaint(**changes: Any) -> str:
    """The lines about a configuration, without the first."""
    with pytest.raises(ConfigError) as caught:
        parse_config(document(**changes))
    first, *lines = str(caught.value).splitlines()
    assert first == "configuration is invalid:"
    assert not [word for word in JARGON for line in lines if word in line]
    return "\n".join(line.strip() for line in lines)


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text)
    return path


# unknown keys


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"tilling": {}}, "tilling: unknown key; did you mean 'tiling'?"),
        ({"training__step": 3}, "training.step: unknown key; did you mean 'steps'?"),
        ({"training__bounds__loewr": 1}, "training.bounds.loewr: unknown key; did you mean 'lower'?"),
        ({"psf__fwhm": 3}, "psf.fwhm: unknown key; did you mean 'fwhm_um'?"),
        ({"psf__sigma": 3}, "psf.sigma: unknown key; expected one of energy, fwhm_px, fwhm_um, kind"),
        (
            {"psf": [MINIMAL["psf"], {"kind": "identity", "enery": 1}]},
            "psf.1.enery: unknown key; expected one of kind",
        ),
        ({"steps": 3}, "steps: unknown key; did you mean 'training.steps' or 'published.steps'?"),
        ({"precision": 3}, "precision: unknown key; did you mean 'training.precision'?"),
        ({"network__learning_rate": 3}, "network.learning_rate: unknown key; did you mean 'training.learning_rate'?"),
        ({"sensor__sigm": 3}, "sensor.sigm: unknown key; did you mean 'sigma'?"),
        ({"tiling__foo": 3}, "tiling.foo: unknown key; expected one of blend, core, dimensions"),
        ({"tiling__core": {"q": 3}}, "tiling.core.q: unknown axis; expected 'z', 'y' or 'x'"),
        ({"input__roi": {"v": [0, 3]}}, "input.roi.v: unknown axis; expected 't', 'c', 'z', 'y' or 'x'"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name(changes: dict[str, Any], line: str) -> None:
    assert complaint(**changes) == line


def test_every_mistake_is_reported_at_once() -> None:
    lines = complaint(tilling=1, training__steps=0, psf__kind="gausian").splitlines()
    assert len(lines) == 3


# missing, of the wrong type, out of range


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"input": {}}, "input.path: missing (required): expected a URL or a path"),
        ({"psf": {"kind": "file"}}, "psf.path: missing (required): expected a path"),
        (
            {"psf": {"fwhm_px": 1}},
            "psf.kind: missing; expected " + KINDS,
        ),
        ({"psf__kind": "gausian"}, "psf.kind: unknown value 'gausian'; did you mean 'gaussian'?"),
        (
            {"psf__kind": 7},
            "psf.kind: unknown value '7'; expected one of "
            "file, gaussian, widefield, gibson_lanni, confocal, light_sheet, two_photon, varying, identity",
        ),
        (
            {"training__select": "bets"},
            "training.select: expected 'best' or 'network', found 'bets'; did you mean 'best'?",
        ),
        ({"training__steps": 1.5}, "training.steps: expected an integer above 0 or 'auto', found 1.5"),
        ({"training__steps": True}, "training.steps: expected an integer above 0 or 'auto', found True"),
        ({"training__steps": None}, "training.steps: expected an integer above 0 or 'auto', found nothing"),
        (
            {"training__learning_rate": float("inf")},
            "training.learning_rate: expected a number above 0 or 'auto', found inf",
        ),
        ({"masking__density": 2}, "masking.density: expected a number above 0 and of at most 0.5, found 2"),
        ({"psf__energy": 2}, "psf.energy: expected a number above 0.5 and of at most 1, found 2"),
        ({"output__pyramid": "maybe"}, "output.pyramid: expected true or false, found 'maybe'"),
        ({"tiling__dimensions": 4}, "tiling.dimensions: expected 2 or 3, found 4"),
        ({"tiling": 3}, "tiling: expected a section with keys among dimensions, core, blend, found 3"),
        ({"tiling__core": {"z": -1}}, "tiling.core.z: expected an integer above 0, found -1"),
        (
            {"tiling__core": "big"},
            "tiling.core: expected an integer above 0 or a mapping from z, y or x to an integer above 0, found 'big'",
        ),
        (
            {"input__roi": {"z": [1]}},
            "input.roi.z: expected a list of 2: an integer of at least 0, then an integer above 0, found [1]",
        ),
        ({"sensor__low": "never"}, "sensor.low: expected a number or 'none', found 'never'"),
        ({"sensor__impulse_share": 0.07}, "sensor.impulse_share: expected 0, found 0.07"),
        ({"sensor__impulse_share": False}, "sensor.impulse_share: expected 0, found False"),
        ({"sensor__sigma": 0}, "sensor.sigma: expected a number above 0, found 0"),
        ({"training__bounds__lower": "x"}, "training.bounds.lower: expected a number or 'auto', found 'x'"),
        (
            {"psf": "gaussian"},
            f"psf: expected a section with a key 'kind' ({KINDS}), or a list of these, found 'gaussian'",
        ),
        (
            {"psf": []},
            f"psf: expected a section with a key 'kind' ({KINDS}), or a list of these, found []",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_expected(changes: dict[str, Any], line: str) -> None:
    assert complaint(**changes) == line


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="1: a key must be text"):
        parse_config(document() | {1: 2})


@pytest.mark.parametrize("section", ["input", "output", "psf"])
def test_the_three_sections_without_defaults_are_demanded(section: str) -> None:
    made = document()
    del made[section]
    with pytest.raises(ConfigError, match=rf"  {section}: missing \(required\): expected a section"):
        parse_config(made)


# what a section demands as a whole


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"input__roi": {"z": [3, 2]}}, "input: roi.z is [3, 2]: expected start < stop"),
        ({"input__axes": "zx"}, AXES.format("zx")),
        ({"input__axes": "zzyx"}, AXES.format("zzyx")),
        ({"input__axes": "qyx"}, AXES.format("qyx")),
        (
            {"solver": "tv", "classical__weight": "likelihood"},
            "classical.weight: likelihood is available for solver: wiener only, but solver is tv: "
            "expected auto (lowest masked loss) or a number",
        ),
        ({"sensor__low": 5, "sensor__high": 3}, "sensor: low is 5 and high is 3: expected low < high"),
        ({"psf__fwhm_um": {"y": 1}}, "psf: expected exactly one of fwhm_um and fwhm_px"),
    ],
)
def test_contradictions_inside_a_section_are_refused(changes: dict[str, Any], line: str) -> None:
    assert complaint(**changes) == line


# what is accepted


def test_one_psf_section_serves_all_channels_and_a_list_serves_each() -> None:
    one = parse_config(document())
    assert one.psf_of(0) is one.psf_of(5)
    two = parse_config(document(psf=[MINIMAL["psf"], {"kind": "identity"}]))
    assert [two.psf_of(i).kind for i in (0, 1)] == ["gaussian", "identity"]


def test_a_section_with_nothing_in_it_is_its_defaults(tmp_path: Path) -> None:
    text = "input: {path: a}\noutput: {path: b}\npsf: {kind: identity}\nmasking:\ntraining:\n  bounds:\n"
    config = load_config(write(tmp_path, text))
    assert config.masking == RunConfig.model_fields["masking"].default
    assert config.training == RunConfig.model_fields["training"].default


def test_numbers_as_yaml_writes_them(tmp_path: Path) -> None:
    """YAML 1.1 takes 1e-3 for text and 0.4 without quotes for a number."""
    text = (
        "input: {path: a}\noutput: {path: b, ome_zarr: 0.4}\npsf: {kind: identity}\ntraining: {learning_rate: 1e-3}\n"
    )
    config = load_config(write(tmp_path, text))
    assert config.training.learning_rate == 1e-3
    assert config.output.ome_zarr == "0.4"


def test_a_configuration_cannot_be_changed() -> None:
    config = parse_config(document())
    with pytest.raises(ValidationError):
        config.seed = 3  # type: ignore[misc]


def test_the_state_lies_beside_the_output_unless_said_otherwise(tmp_path: Path) -> None:
    assert parse_config(document(), base=tmp_path).state_path == tmp_path / "out.zarr.run"
    assert parse_config(document(output__state="s"), base=tmp_path).state_path == tmp_path / "s"


# paths


def test_relative_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    path = write(
        folder,
        "input: {path: ../in.zarr}\noutput: {path: out.zarr, state: st}\n"
        "psf: {kind: file, path: psf.tif}\ntraining: {start_from: net.pt}\n",
    )
    monkeypatch.chdir(tmp_path)
    for name in (path, path.relative_to(tmp_path), str(path)):
        config = load_config(name)
        assert config.input.path == tmp_path / "in.zarr"
        assert config.output.path == folder / "out.zarr"
        assert config.output.state == folder / "st"
        assert config.psf[0].path == folder / "psf.tif"  # type: ignore[union-attr]
        assert config.training.start_from == folder / "net.pt"


def test_paths_in_a_list_of_psfs_are_resolved(tmp_path: Path) -> None:
    config = parse_config(document(psf=[{"kind": "file", "path": p} for p in ("a.tif", "/b.tif")]), base=tmp_path)
    assert [part.path for part in config.psf] == [tmp_path / "a.tif", Path("/b.tif")]  # type: ignore[union-attr]


def test_the_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_config(document(input__path="~/in.zarr")).input.path == tmp_path / "in.zarr"


def test_a_path_that_names_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"input\.path is empty: expected the path of a file"):
        parse_config(document(input__path=" "))


def test_the_document_is_left_as_it_was() -> None:
    made = document(psf=[{"kind": "file", "path": "a.tif"}])
    before = copy.deepcopy(made)
    parse_config(made)
    assert made == before


# files


def test_a_missing_file_is_named_and_the_cure_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml not found; `ssi init .*none\.yaml` writes a template"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize(("text", "found"), [("", "nothing"), ("- a\n- b\n", "list"), ("words", "str")])
def test_a_file_without_sections_is_refused(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(ConfigError, match=rf"run\.yaml: expected a mapping of sections .* found {found}"):
        load_config(write(tmp_path, text))


def test_broken_yaml_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.yaml, line 2 is not valid YAML"):
        load_config(write(tmp_path, "input:\n\tpath: a\n"))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\x00input")
    with pytest.raises(ConfigError, match=r"run\.yaml is not valid YAML in UTF-8"):
        load_config(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    ("text", "key", "line", "first"),
    [
        ("seed: 1\ninput: {path: a}\nseed: 2\n", "seed", 3, 1),
        ("training:\n  steps: 10\n  batch: 2\n  steps: 20\n", "steps", 4, 2),
        ("psf:\n- kind: identity\n- {kind: gaussian, kind: identity}\n", "kind", 3, 3),
    ],
)
def test_a_key_given_twice_is_an_error(tmp_path: Path, text: str, key: str, line: int, first: int) -> None:
    with pytest.raises(ConfigError, match=rf"run\.yaml, line {line}: duplicate key '{key}', .* in line {first};"):
        load_config(write(tmp_path, text))


def test_yaml_anchors_and_merges_still_work(tmp_path: Path) -> None:
    text = (
        "input: {path: a}\noutput: {path: b}\n"
        "psf:\n- &first {kind: gaussian, fwhm_px: {y: 2}, energy: 0.9}\n- {<<: *first, energy: 0.8}\n"
    )
    config = load_config(write(tmp_path, text))
    assert [part.energy for part in config.psf] == [0.9, 0.8]  # type: ignore[union-attr]


# fingerprints


def test_a_digest_depends_on_values_and_not_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest({"b": [1, 2]}) != digest({"b": [2, 1]})
    assert len(digest({})) == 16


def test_configurations_that_mean_the_same_have_one_digest() -> None:
    explicit = parse_config(document(seed=0, training={"batch": 4}))
    assert digest(explicit.model_dump(mode="json")) == digest(parse_config(document()).model_dump(mode="json"))


def test_every_option_changes_the_digest() -> None:
    base = digest(parse_config(document()).model_dump(mode="json"))
    for change in ({"seed": 1}, {"training__bounds__upper": 0.2}, {"psf__energy": 0.9}, {"tiling__core": 64}):
        assert digest(parse_config(document(**change)).model_dump(mode="json")) != base


def test_flatten_names_leaves_by_their_path() -> None:
    assert flatten({"a": {"b": 1, "c": {}}, "d": [1]}) == {"a.b": 1, "a.c": {}, "d": [1]}


def test_differences_name_what_changed_and_nothing_else() -> None:
    old = {"a": {"b": 1, "c": 2}, "gone": 1, "none": None}
    new = {"a": {"b": 1, "c": 3}, "new": 2}
    assert differences(old, new) == [
        "a.c: 2 -> 3",
        "gone: 1 -> (absent)",
        "new: (absent) -> 2",
        "none: None -> (absent)",
    ]
    assert differences(old, old) == []


def test_of_lists_of_one_length_what_differs_is_named() -> None:
    old, new = {"content": ["a", "b", "c"]}, {"content": ["a", "x", "c"]}
    assert differences(old, new) == ["content[1]: b -> x"]
    assert differences(old, {"content": ["a"]}) == ["content: ['a', 'b', 'c'] -> ['a']"]
