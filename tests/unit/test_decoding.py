from dataclasses import dataclass, field, replace

import pytest
from onnxbench.errors import BadInput, OutOfMemory, WorkerDied, WorkerTimeout
from onnxbench.parity import ImageSet
from onnxbench.runners.pool.decoding import Decoder
from onnxbench.runners.worker.file_jobs import CountImages, Decoded, DecodeImages, Train
from onnxbench.runners.worker.jobs import Data, Here, ProgressReport, There

NAME = "images:/data?size=8"
DATA = Data.named(NAME)
FACTS = ImageSet(images=99, classes=2, unreadable=1, examples=("'a.png' (empty)",))


class Lines:
    def __init__(self):
        self.notes, self.steps = [], []

    def note(self, text):
        self.notes.append(text)

    def step(self, what, done, total):
        self.steps.append(done)


@dataclass
class Workers:
    """A pool whose workers decode 120 files, and end at a file in `fatal` with its error."""

    fatal: dict = field(default_factory=dict)
    jobs: list = field(default_factory=list)
    facts: ImageSet = FACTS

    def start(self, log, python=None, *, network=False):
        assert not network
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error): ...

    def ask(self, job, timeout_s, on_report=None):
        self.jobs.append(job)
        on_report(ProgressReport())
        for index in range(120):
            on_report(ProgressReport(step=index, steps=120))
            if index in self.fatal and index not in job.skip:
                raise self.fatal[index]
        return Decoded(folder=There(path="/cache/images/1"), images=self.facts)


def made(workers, tmp_path, data=DATA, decoder=None, lines=None):
    return (decoder or Decoder()).data_of(data, tmp_path, workers, lines or Lines())


def test_images_are_decoded_once_and_other_jobs_read_their_arrays(tmp_path):
    workers, decoder, lines = Workers(), Decoder(), Lines()
    for _ in range(2):
        assert made(workers, tmp_path, decoder=decoder, lines=lines) == replace(DATA, place=Here(path="/cache/images/1"))
    assert workers.jobs == [DecodeImages(data=DATA)]
    assert lines.steps == [0, 50, 100]
    assert decoder.images == {NAME: FACTS}
    (note,) = lines.notes
    assert "left out 1 of 100 images" in note
    assert "'a.png' (empty)" in note


def test_the_name_of_images_keeps_its_place_apart():
    assert DATA.place == Here(path="/data")


def test_a_complete_set_needs_no_note(tmp_path):
    lines = Lines()
    made(Workers(facts=replace(FACTS, unreadable=0, examples=())), tmp_path, lines=lines)
    assert lines.notes == []


@pytest.mark.parametrize("kind", [WorkerDied, WorkerTimeout, OutOfMemory])
def test_a_file_that_ends_its_worker_is_left_out_by_the_next_one(tmp_path, kind):
    workers = Workers(fatal={7: kind("ended"), 70: kind("ended")})
    made(workers, tmp_path)
    assert [job.skip for job in workers.jobs] == [(), (7,), (7, 70)]


def test_files_that_end_many_workers_end_the_command(tmp_path):
    with pytest.raises(BadInput, match=r"cannot be decoded: ended; remove damaged files"):
        made(Workers(fatal={number: WorkerDied("ended") for number in range(9)}), tmp_path)


def test_other_data_and_jobs_without_data_stay_as_they_are(tmp_path):
    workers, digits = Workers(), Data.named("digits")
    assert made(workers, tmp_path, digits) is digits
    job = CountImages(data=digits)
    assert Decoder().with_arrays(job, tmp_path, workers, Lines()) is job
    assert workers.jobs == []


def test_a_job_reads_the_decoded_images(tmp_path):
    how = {"device": "cpu", "precision": "fp32", "epochs": 1, "batch_size": 8, "lr": 0.1, "seed": 0, "threads": 1}
    job = Train(model="cnn", factory="m:f", data=DATA, checkpoint=There(path="c"), **how)
    asked = Decoder().with_arrays(job, tmp_path, Workers(), Lines())
    assert asked == replace(job, data=replace(DATA, place=Here(path="/cache/images/1")))


def test_images_without_labels_are_a_set_of_their_own(tmp_path):
    workers, decoder = Workers(), Decoder()
    for labelled in (True, False, False):
        assert decoder.place_of(DATA, tmp_path, workers, Lines(), labelled=labelled) == Here(path="/cache/images/1")
    assert [job.labelled for job in workers.jobs] == [True, False]
