"""Trials that break in every way: the others finish, and each failure is a record with its reason."""

import sys
from pathlib import Path

import pytest

from lnlbench.errors import ExitCode
from lnlbench.models.device_trouble import LOST_DEVICE
from lnlbench.records.store import Store

# Every method is cross-entropy until it does harm; a file "mended" beside the plugin stops that.
PLUGIN = '''
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

import torch

from lnlbench.api import Method, functional

HERE = Path(__file__).parent


class Harmless(Method):
    """Cross-entropy."""

    def loss(self, batch):
        if not (HERE / "mended").exists():
            self.harm()
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)

    def harm(self):
        pass


class RaisesInSetup(Harmless):
    """Raises before the first epoch."""

    def setup(self, task):
        super().setup(task)
        if not (HERE / "mended").exists():
            raise RuntimeError("no foundations")


class RaisesInEpoch(Harmless):
    """Raises an exception whose own message cannot be shown."""

    def harm(self):
        class Broken(Exception):
            def __str__(self):
                raise ValueError

        raise Broken


class RaisesInPredict(Harmless):
    """Raises when it is measured, with a message of megabytes."""

    def predict(self, inputs):
        if not (HERE / "mended").exists():
            raise ValueError("short of words\\n" + "x" * 5_000_000)
        return super().predict(inputs)


class LosesItsLoss(Harmless):
    """Returns a loss that is not a number."""

    def loss(self, batch):
        loss = super().loss(batch)
        return loss if (HERE / "mended").exists() else loss * float("nan")


class PredictsNothing(Harmless):
    """Returns predictions that are not numbers."""

    def predict(self, inputs):
        logits = super().predict(inputs)
        return logits if (HERE / "mended").exists() else logits * float("nan")


class Exits(Harmless):
    """Calls sys.exit as if all were well."""

    def harm(self):
        sys.exit(0)


class FillsTheDisk(Harmless):
    """Writes more than there is room for."""

    def harm(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))  # stands in for a full disk
        try:
            (HERE / "large").write_bytes(bytes(2_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Talks(Harmless):
    """Prints twenty megabytes, and is otherwise well."""

    def harm(self):
        for _ in range(5):
            print("y" * 1_000_000)
            print("z" * 1_000_000, file=sys.stderr)


class Vandal(Harmless):
    """Changes what is everybody's, and works on."""

    def setup(self, task):
        super().setup(task)
        torch.set_grad_enabled(True)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.set_float32_matmul_precision("medium")
        torch.manual_seed(1)
        torch.rand(10)
        task.labels.zero_()
        os.environ["LNLBENCH_DATA"] = "/nowhere"
        os.chdir("/")

    def epoch(self, phase):
        super().epoch(phase)
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        torch.set_grad_enabled(False)

    def loss(self, batch):
        loss = functional.cross_entropy(self.network(batch.inputs), batch.labels)
        batch.inputs.zero_()
        batch.labels.zero_()
        return loss

    def predict(self, inputs):
        logits = super().predict(inputs.clone())
        inputs.zero_()
        return logits


class SetsEverySwitch(Harmless):
    """Asks for other arithmetic in every way that PyTorch has."""

    def harm(self):
        backends, cuda = torch.backends, torch.backends.cuda
        torch.set_float32_matmul_precision("medium")
        backends.cudnn.allow_tf32 = False
        for part in (backends, cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul):
            part.fp32_precision = "tf32"
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False
        backends.cudnn.benchmark = backends.cudnn.deterministic = True
        cuda.matmul.allow_fp16_reduced_precision_reduction = False
        cuda.matmul.allow_bf16_reduced_precision_reduction = False
        cuda.matmul.allow_fp16_accumulation = True
        for kind in ("flash", "mem_efficient", "cudnn"):
            getattr(cuda, f"enable_{kind}_sdp")(False)
        torch.set_default_dtype(torch.float64)
        torch.autograd.set_detect_anomaly(True)
        torch.set_autocast_enabled("cpu", True)

    def loss(self, batch):
        self.harm()
        return functional.cross_entropy(self.network(batch.inputs.float()).double(), batch.labels)


class LosesItsDevice(Harmless):
    """Stands in for an assertion on a GPU: it fails, and so does all that follows in its process."""

    def harm(self):
        from lnlbench.basics.clocks import Clocks
        from lnlbench.trials import attempt

        def fail(*_):
            raise RuntimeError("CUDA error: device-side assert triggered")

        Clocks._now = fail
        attempt.is_lost = lambda device: True
        fail()


class DrawsLayers(Harmless):
    """Has a layer of its own, with weights that torch has drawn."""

    def setup(self, task):
        super().setup(task)
        self.scale = torch.nn.Linear(1, 1)

    def loss(self, batch):
        return super().loss(batch) * self.scale.weight.detach().abs().item()


class Loops(Harmless):
    """Never comes back."""

    def harm(self):
        while True:
            pass


class SleepsInNativeCode(Harmless):
    """Never comes back, and never lets another thread of Python run."""

    def harm(self):
        ctypes.PyDLL(None).sleep(100_000)


class IsKilled(Harmless):
    """Ends as the kernel ends a process when memory runs out."""

    def harm(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Segfaults(Harmless):
    """Reads from address zero."""

    def harm(self):
        ctypes.string_at(0)
'''

# Seconds: longer than any of the other trials takes where other work shares the machine.
LIMIT = 60

# What the record of each failure says: kind and the beginning of its message.
RAISED = {
    "raises_in_setup": ("RuntimeError", "no foundations"),
    "raises_in_epoch": ("Broken", "Its message cannot be shown"),
    "raises_in_predict": ("ValueError", "short of words"),
    "loses_its_loss": ("TrialError", "The loss is not finite in epoch 1 of the lp phase."),
    "predicts_nothing": ("TrialError", "The predictions are not finite."),
    "exits": ("SystemExit", "The code of the trial called sys.exit(0)."),
    "fills_the_disk": ("OSError", "[Errno 27] File too large"),
}
ENDED = {
    "loops": ("TimedOut", f"The trial took longer than --trial-timeout ({LIMIT} s)."),
    "sleeps_in_native_code": ("TimedOut", f"The trial took longer than --trial-timeout ({LIMIT} s)."),
    "is_killed": ("WorkerDied", "The worker process was killed or ended itself"),
    "segfaults": ("Crashed", "The worker process crashed in native code (Segmentation fault)."),
}
WELL = ("ce", "harmless", "talks")


def options(names):
    own = [name for name in names if name not in ("ce", "gce")]
    classes = ["".join(word.capitalize() for word in name.split("_")) for name in own]
    plugins = [option for name in classes for option in ("--plugin", f"harm.py:{name}")]
    return [*plugins, "--set", f"method={','.join(names)}"]


@pytest.fixture
def harm(tiny):
    Path("harm.py").write_text(PLUGIN)
    return tiny


def check_failures(harm, expected, run):
    """Compare records, summary, status and table with what should have failed."""
    code, out, err = run
    assert code == ExitCode.INCOMPLETE, err
    assert "Traceback" not in out + err
    assert "raylet" not in out
    frame = harm.frame()
    assert set(frame.index[frame["status"] == "done"]) == set(WELL)
    assert set(frame.index[frame["status"] == "failed"]) == set(expected)
    errors = {record.spec.method.name: record for record in Store.open(harm.out).records() if record.error}
    for name, (kind, message) in expected.items():
        record = errors[name]
        assert record.error["type"] == kind
        assert record.error["message"].startswith(message)
        assert len(record.error["message"]) + len(record.error["traceback"]) < 30_000
        assert record.plugin["fingerprint"] == frame.loc["harmless", "method_fingerprint"]
        assert record.data["fingerprint"] == frame.loc["ce", "data_fingerprint"]
    assert f"{len(expected)} trials failed. See: lnlbench status --out runs/tiny" in out
    # The table at the end of the run notes the reason of every cell that is missing.
    _, status, _ = harm.call("status", "--out", "runs/tiny")
    code, table, _ = harm.call("table", "--out", "runs/tiny")
    assert code == ExitCode.INCOMPLETE
    for kind, message in expected.values():
        for text in (out, status, table):
            assert f"{kind}: {message}" in text


def check_retry(harm, expected, names):
    """Run the failed trials again, mended: just those."""
    Path("mended").touch()
    before = harm.records()
    code, _, err = harm.run(*options(names))
    assert code == ExitCode.INCOMPLETE
    assert f"0 trials to run; {len(WELL)} done, {len(expected)} failed" in err
    code, _, err = harm.run(*options(names), "--retry", "failed")
    assert code == ExitCode.OK, err
    assert f"{len(expected)} trials to run; {len(WELL)} done" in err
    frame = harm.frame()
    assert set(frame["status"]) == {"done"}
    again = {f"{frame.loc[name, 'trial_id']}.json" for name in expected}
    assert {name for name, changed in harm.records().items() if changed != before[name]} == again
    assert not list((harm.out / "checkpoints").iterdir())


@pytest.mark.timeout(900)
def test_trials_that_end_their_process_or_hang_do_not_end_the_run(harm):
    names = ["ce", *RAISED, *ENDED, "harmless", "talks"]
    run = harm.run(*options(names), "--jobs", "2", "--trial-timeout", str(LIMIT), executor="ray")
    check_failures(harm, RAISED | ENDED, run)
    traces = {
        record.spec.method.name: record.error["traceback"]
        for record in Store.open(harm.out).records()
        if record.error
    }
    for name in ("loops", "sleeps_in_native_code", "segfaults"):  # where it was
        assert "harm.py" in traces[name]
        assert "in harm" in traces[name]
    # What trials print is not among what the run prints.
    assert len(run[1]) + len(run[2]) < 30_000
    check_retry(harm, RAISED | ENDED, names)


def test_trials_that_raise_do_not_end_an_inline_run(harm):
    names = ["ce", *RAISED, "harmless", "talks"]
    check_failures(harm, RAISED, harm.run(*options(names)))
    check_retry(harm, RAISED, names)


def check_lost_device(tiny, expected):
    frame = tiny.frame()
    assert frame["status"].to_dict() == expected
    assert frame.loc["loses_its_device", "error"] == "RuntimeError: CUDA error: device-side assert triggered"
    (lost,) = (record for record in Store.open(tiny.out).records() if record.error)
    assert lost.error["hint"] == LOST_DEVICE


@pytest.mark.timeout(600)
def test_a_worker_whose_device_is_lost_ends_and_the_next_trial_has_another(harm):
    names = ["ce", "loses_its_device", "harmless", "gce"]
    code, out, err = harm.run(*options(names), executor="ray")
    assert code == ExitCode.INCOMPLETE, err
    assert "Traceback" not in out + err
    check_lost_device(harm, {**dict.fromkeys(names, "done"), "loses_its_device": "failed"})


@pytest.mark.timeout(600)
def test_an_inline_run_whose_device_is_lost_stops_and_can_be_continued(harm):
    names = ["ce", "loses_its_device", "harmless"]
    process = harm.start(*options(names))
    _, err = process.communicate()
    assert process.returncode == ExitCode.INCOMPLETE
    assert "has left its GPU in an error" in err
    assert "Traceback" not in err
    check_lost_device(harm, {"ce": "done", "loses_its_device": "failed", "harmless": "pending"})
    before = harm.records()
    code, _, err = harm.run(*options(names))
    assert code == ExitCode.INCOMPLETE
    assert "1 trials to run; 1 done, 1 failed" in err
    after = harm.records()
    assert {name: after[name] for name in before} == before
    check_lost_device(harm, {"ce": "done", "loses_its_device": "failed", "harmless": "done"})


@pytest.mark.parametrize(
    "company",
    [list(RAISED), ["vandal"], ["sets_every_switch"]],
    ids=["failures", "a vandal", "one that sets every switch"],
)
def test_trials_do_not_change_those_that_follow_in_their_process(harm, company):
    others = ["draws_layers", "harmless", "gce"]
    harm.run(*options([*company, *others]))
    beside = harm.losses()
    harm.run(*options(others), "--out", "alone")
    harm.out = Path("alone")
    alone = harm.losses()
    assert set(alone) == set(others)
    for method, losses in alone.items():
        assert losses == beside[method]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise RuntimeError('not today')\n", "RuntimeError: not today"),
        ("import sys; sys.exit(0)\n", "SystemExit: 0"),
        ("class Mine(Method:\n", "harm.py:1: "),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_refused_before_any_work(tiny, source, says):
    Path("harm.py").write_text(source + "from lnlbench.api import Method\nclass Mine(Method):\n    pass\n")
    sys.modules.pop("no_such_module", None)
    code, _, err = tiny.run("--plugin", "harm.py:Mine", "--set", "method=ce,mine")
    assert code == ExitCode.USAGE
    assert says in err
    assert "Traceback" not in err
    assert not Path("runs").exists()


def test_a_plugin_whose_supports_raises_is_refused_before_any_work(tiny):
    Path("harm.py").write_text(
        "from lnlbench.api import Method\n"
        "class Mine(Method):\n"
        "    @classmethod\n"
        "    def supports(cls, spec):\n"
        "        return spec.no_such_field\n"
    )
    code, _, err = tiny.run("--plugin", "harm.py:Mine", "--set", "method=ce,mine")
    assert code == ExitCode.USAGE
    assert "supports() of method 'mine' failed" in err
    assert "no_such_field" in err
    assert not Path("runs").exists()
