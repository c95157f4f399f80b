"""The interpreter as the tests prepare it computes what Triton's own computes, to the last bit."""

from apart import HERE, run


def test_the_prepared_interpreter_gives_the_bits_of_the_one_as_it_comes() -> None:
    own, prepared = (
        run([str(HERE / "bits_of.py"), how], TRITON_INTERPRET="1").splitlines() for how in ("as it comes", "prepared")
    )
    assert len(own) > 30
    assert prepared == own
