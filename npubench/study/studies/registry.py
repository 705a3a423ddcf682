"""Names of studies to code, which is imported when the study is asked for.

A study is a module beside this one with a function ``run`` of type `record.Runner`, and one entry
here. Its parameters are set with ``--set NAME=VALUE``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import cast

from npubench.errors import OptionError, Problem, did_you_mean
from npubench.study.run import make_stamp
from npubench.study.session import Session
from npubench.study.studies.record import Runner, StudyContext, StudyResult, StudySection

__all__ = [
    "STUDIES",
    "Parameter",
    "Study",
    "assemble",
    "find_study",
    "run_study",
    "study_sections",
]


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something of a study that may be set: its default as text, and what it is."""

    name: str
    default: str
    help: str


@dataclass(frozen=True, slots=True)
class Study:
    """An entry of the registry.

    Attributes:
        name: on the command line.
        title: in one line.
        description: what is run, and what stands beside it.
        module: under `npubench.study.studies`.
        parameters: what may be set.
    """

    name: str
    title: str
    description: str
    module: str
    parameters: tuple[Parameter, ...] = ()

    def load(self) -> Runner:
        """The function that runs it."""
        return cast("Runner", import_module(f"npubench.study.studies.{self.module}").run)

    def settle(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Every parameter with its value.

        Raises:
            OptionError: a name that is no parameter.
        """
        known = {parameter.name: parameter.default for parameter in self.parameters}
        problems = [
            Problem(
                f"--set {name}={value}: study '{self.name}' has no parameter '{name}'",
                hint=did_you_mean(name, known) or "it has no parameters",
            )
            for name, value in settings.items()
            if name not in known
        ]
        if problems:
            raise OptionError(*problems)
        return {**known, **settings}


_ALL = (
    Study(
        "ap_programs",
        "Microprograms of an associative processor: three counts, and results against integers",
        "Every program is executed bit by bit on random and extreme operands: cycles by closed "
        "form, by counting its instructions and by emulation, and results against int64.",
        "ap_programs",
        (
            Parameter("pairs", "some", "'some' widths of 1, 4, 8, 16, or 'all' from 1 to 16"),
            Parameter("operands", "256", "operand sets for each program"),
        ),
    ),
    Study(
        "bf_imna_networks",
        "BF-IMNA over networks, cell technologies, precisions and supplies",
        "Energy, latency, EDP, rate, efficiency and density; where energy and time go by kind of "
        "work; limited and unlimited resources.",
        "bf_imna_networks",
        (
            Parameter("networks", "alexnet,vgg16,resnet50", "networks"),
            Parameter("tech", "sram,reram", "cell technologies; breakdowns show the first"),
            Parameter("precision", "w8a8,w4a4", "precisions"),
            Parameter("vdd", "1.0,0.7,0.5", "supplies in volts; breakdowns show the first"),
        ),
    ),
    Study(
        "bf_imna_hawq",
        "HAWQ-V3's mixed precisions of ResNet-18 on BF-IMNA: EDP against accuracy",
        "Latency, energy and EDP of INT8, three latency budgets and INT4, normalised to INT4, "
        "beside the published accuracy.",
        "bf_imna_hawq",
        (
            Parameter("resource", "limited,unlimited", "resources"),
            Parameter("tech", "sram", "cell technology"),
            Parameter("vdd", "1.0", "supply in volts"),
        ),
    ),
    Study(
        "bf_imna_peers",
        "BF-IMNA's peak figures beside published in-memory and digital accelerators",
        "Peak rate and efficiency at 1, 8 and 16 bits from the programs of one multiply-accumulate "
        "a row, beside published designs; the paper's two ratios; Colonnade's bit-serial silicon.",
        "bf_imna_peers",
        (Parameter("bits", "1,8,16", "widths of both operands"),),
    ),
    Study(
        "hawq_sizes",
        "HAWQ-V3's plans of ResNet-18 and ResNet-50: what they weigh",
        "Weights and bit operations of every published plan, counted from the networks that ship, "
        "beside the sizes and bit operations that HAWQ-V3 publishes.",
        "hawq_sizes",
        (Parameter("networks", "resnet18,resnet50_v1", "networks that have published plans"),),
    ),
    Study(
        "hawq_v3",
        "HAWQ-V3's mixed precision: which width for which layer",
        "Its integer programme solved exactly from its published sensitivities, beside the widths, "
        "sizes, bit operations and accuracies that it publishes; then the same budgets on an "
        "accelerator's own costs.",
        "hawq_v3",
        (
            Parameter("networks", "resnet18,resnet50_v1", "networks that have published plans"),
            Parameter("hardware", "bf_imna", "accelerators that execute w8a8 and w4a4, or none"),
        ),
    ),
    Study(
        "hda",
        "HDA against its homogeneous twin: energy, response time, accuracy drop",
        "Networks of several accuracies under load on an 8-bit and a narrower NPU of equal area, "
        "and on two 8-bit ones, beside the -29 %, -10 % and 0.5 that the abstract reports.",
        "hda",
        (
            Parameter(
                "networks",
                "vgg11_cifar10,vgg13_cifar10,vgg19_cifar10,resnet18_cifar10,resnet34_cifar10,"
                "vgg16_cifar100,resnet50_cifar100,mobilenet_v1_cifar100,mobilenet_v2_cifar100",
                "served, drawn alike; drops by width must be published",
            ),
            Parameter("load", "0.5", "share of the twin's nominal capacity"),
            Parameter("requests", "20000", "of each run"),
            Parameter("sensitivity", "yes", "'yes' goes through widths, thresholds and loads"),
        ),
    ),
    Study(
        "stimpack_load",
        "Stimpack under load: speed-up of burst mode, load within the SLO, accuracy delivered",
        "Seven networks, alone and together, on Stimpack and on the TPUv4i that it extends, beside "
        "the speed-up of 48.4 % and the load gain of 41.4 % that its abstract reports.",
        "stimpack_load",
        (
            Parameter(
                "networks",
                "resnet50,mobilenet_v2,vgg16,inception_v3,yolov3,bert_base,rnnt_encoder",
                "served; the seven of the paper are not public",
            ),
            Parameter("requests", "10000", "of each run"),
            Parameter("repetitions", "3", "of each run; intervals come from them"),
            Parameter(
                "weights",
                "fetched",
                "of both systems: for every inference, or 'kept' on chip and converted there",
            ),
            Parameter("sensitivity", "yes", "'yes' changes one assumption after another, or 'no'"),
        ),
    ),
    Study(
        "stimpack_burst",
        "Stimpack's burst mode: speed-up of every network, and where the rest of the time goes",
        "Seven networks in BF16 and in INT8 on one NPU, weights on chip, streamed and converted, "
        "or fetched as INT8 copies, beside the speed-up that the paper states.",
        "stimpack_burst",
        (
            Parameter(
                "networks",
                "resnet50,mobilenet_v2,vgg16,inception_v3,yolov3,bert_base,rnnt_encoder",
                "the paper's seven are not public",
            ),
            Parameter("batch", "1", "inferences at once"),
        ),
    ),
    Study(
        "validation",
        "Array designs against silicon, RTL and vendors' models: predicted over published",
        "Every published figure that the array family can express, on the specs that ship; none is "
        "fitted to. What cannot be expressed is listed with the reason.",
        "validation",
        (
            Parameter("parts", "eyeriss,tpuv1,tpuv4i,cmem,nvdla,gemmini,others,matmul", "tables"),
            Parameter("batch", "64", "of ResNet-50 on TPUv4i"),
            Parameter("matmuls", "107", "products of the TPU v4 table, evenly spread; 855 are all"),
        ),
    ),
)

STUDIES: Mapping[str, Study] = MappingProxyType({study.name: study for study in _ALL})


def find_study(name: str) -> Study:
    """The study of a name; ``-`` is ``_``, case does not matter.

    Raises:
        OptionError: no such study.
    """
    folded = name.strip().lower().replace("-", "_")
    if folded not in STUDIES:
        raise OptionError(Problem(f"unknown study '{name}'", hint=did_you_mean(folded, STUDIES)))
    return STUDIES[folded]


def study_sections(
    study: Study,
    settings: Mapping[str, str],
    seed: int = 0,
    session: Session | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Iterator[StudySection]:
    """Run a study and give each section when it is finished.

    Args:
        study: which.
        settings: parameters by name, as text.
        seed: of whatever is drawn.
        session: shared with other runs.
        on_step: called with steps done and steps in all.

    Raises:
        InputError: a parameter that does not exist or makes no sense.
    """
    values = study.settle(settings)
    context = StudyContext(session or Session(), values, seed)
    if on_step is not None:
        context = StudyContext(context.session, values, seed, on_step)
    yield from study.load()(context)


def assemble(
    study: Study, settings: Mapping[str, str], seed: int, sections: tuple[StudySection, ...]
) -> StudyResult:
    """The result of sections that are finished."""
    return StudyResult(study.name, study.title, study.settle(settings), sections, make_stamp(seed))


def run_study(name: str, settings: Mapping[str, str] | None = None, seed: int = 0) -> StudyResult:
    """Run a study to its end.

    Raises:
        InputError: no such study, or parameters that make no sense.
    """
    study = find_study(name)
    given = settings or {}
    return assemble(study, given, seed, tuple(study_sections(study, given, seed)))
