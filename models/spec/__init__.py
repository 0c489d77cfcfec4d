"""The job spec: what a user asks for, checked and normalised, and what it amounts to, without TensorFlow."""

from models.spec.job import JobSpec
from models.spec.network import Node
from models.spec.outputs import OutputKind, class_labels, output_kind
from models.spec.parsing import check_spec, parse_spec
from models.spec.problems import Problem, SpecError
from models.spec.shapes import LayerSummary
from models.spec.summary import Summary, summarize
from models.spec.validation import problems_from

__all__ = [
    "JobSpec",
    "LayerSummary",
    "Node",
    "OutputKind",
    "Problem",
    "SpecError",
    "Summary",
    "check_spec",
    "class_labels",
    "output_kind",
    "parse_spec",
    "problems_from",
    "summarize",
]
