"""What the command says to somebody who typed something that cannot be."""

import socket
from pathlib import Path

import pytest

from driftline_agent.cli import main
from tests.driftline_agent.device import enrol_in


def test_a_port_that_another_program_has_is_named_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enrol_in(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(SystemExit) as end:
            main(["run", "--home", str(tmp_path), "--port", str(port)])

    assert end.value.code == 1
    said = capsys.readouterr().err
    assert f"cannot answer on 127.0.0.1:{port}" in said
    assert "Give another port by --port." in said


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--port", "65536", "use a whole number from 1 to 65535"),
        ("--port", "http", "use a whole number from 1 to 65535"),
        ("--rows-mib", "0", "use a whole number from 1 to 1048576"),
        ("--rows-mib", "many", "use a whole number from 1 to 1048576"),
        ("--poll-seconds", "often", "use a number from 0.1 to 86400"),
        ("--poll-seconds", "nan", "use a number from 0.1 to 86400"),
    ],
)
def test_a_value_that_is_none_is_refused_with_what_fits(
    option: str, value: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["run", "--home", str(tmp_path), option, value])

    assert end.value.code == 2
    assert sentence in capsys.readouterr().err
