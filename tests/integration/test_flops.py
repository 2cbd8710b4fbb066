"""Operations of exported networks against torch's own counter, which counts products alone, as `layer_flops` does."""

import pytest
import torch
from onnxbench.models.cnn import cnn
from onnxbench.runners.worker.work_jobs import work_of
from small_nets import Vision
from torch.utils.flop_counter import FlopCounterMode


@pytest.mark.filterwarnings("ignore")  # of the older exporter
@pytest.mark.parametrize(("make", "side"), [(cnn, 48), (Vision, 32)])
def test_an_exported_network_has_the_operations_that_torch_counts(tmp_path, make, side):
    net, x = make(), torch.randn(3, 3, side, side)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(x)  # in training mode: torch's counter does not see into its fused encoder
    path = tmp_path / "net.onnx"
    # torch's older exporter is the faster one here
    torch.onnx.export(net.eval(), (x,), str(path), dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "batch"}})
    work = work_of(path, (("x", tuple(x.shape)),))
    assert (work.layer_flops, work.unknown) == (counter.get_total_flops(), ())
    assert work.layer_flops > 0
