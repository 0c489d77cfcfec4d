"""The job spec: what a user asks for, checked and normalised, and what it amounts to, without TensorFlow."""

from models.spec.job import JobSpec
from models.spec.network import layers_of
from models.spec.parsing import check_spec, parse_spec
from models.spec.problems import Problem, SpecError
from models.spec.shapes import LayerSummary, names_of
from models.spec.summary import OutputKind, Summary, class_labels, output_kind, summarize
from models.spec.validation import problems_from

__all__ = [
    "JobSpec",
    "LayerSummary",
    "OutputKind",
    "Problem",
    "SpecError",
    "Summary",
    "check_spec",
    "class_labels",
    "layers_of",
    "names_of",
    "output_kind",
    "parse_spec",
    "problems_from",
    "summarize",
]
