"""The reference of the job language is what the classes say today."""

from docs.make_job_language import PAGE, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run: python -m docs.make_job_language"
