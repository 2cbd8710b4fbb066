"""Operations that modules of PyTorch call, from events of torch.profiler by hand."""

from types import SimpleNamespace

from onnxbench.backends.torch_profile import CALL, MODULE, Operation, operations

CPU, CUDA = SimpleNamespace(name="CPU"), SimpleNamespace(name="CUDA")


def event(name, begin, end, parent=None, device=CPU, device_us=0.0):
    return SimpleNamespace(
        name=name,
        time_range=SimpleNamespace(start=begin, end=end),
        cpu_parent=parent,
        device_type=device,
        cpu_time_total=end - begin,
        device_time_total=device_us,
    )


def call(begin):
    """Events of a call from `begin` on: two linear layers of one module, the first of which starts a kernel in an inner one."""
    mark = event(CALL, begin, begin + 100)
    module = event(f"{MODULE}net.fc", begin + 10, begin + 90, mark)
    first = event("aten::linear", begin + 20, begin + 40, module, device_us=7.0)
    inner = event("aten::addmm", begin + 22, begin + 38, first, device_us=7.0)
    launch = event("cudaLaunchKernel", begin + 25, begin + 30, inner)
    second = event("aten::linear", begin + 50, begin + 60, module, device_us=3.0)
    return [mark, module, first, inner, launch, second]


def on_gpu(begin):
    """Events of the GPU for such a call, with the marks that torch repeats there."""
    marks = [event(CALL, begin + 30, begin + 95, device=CUDA), event(f"{MODULE}net.fc", begin + 30, begin + 95, device=CUDA)]
    return [*marks, event("sgemm", begin + 31, begin + 38, device=CUDA)]


def test_an_operation_that_a_module_calls_has_the_time_of_all_inside_it():
    assert operations([*call(0), *call(200)], on_device=False) == [
        [Operation("net.fc", "aten::linear", 0, 20e3, begin), Operation("net.fc", "aten::linear", 1, 10e3, begin + 30e3)]
        for begin in (20e3, 220e3)
    ]


def test_on_a_gpu_an_operation_has_the_time_of_its_kernels_and_a_mark_counts_once():
    events = [*on_gpu(0), *call(200), *call(0), *on_gpu(200)]
    one = [Operation("net.fc", "aten::linear", 0, 7e3, None), Operation("net.fc", "aten::linear", 1, 3e3, None)]
    assert operations(events, on_device=True) == [one, one]


def test_a_mark_without_operations_is_an_empty_call():
    assert operations([event(CALL, 0, 5)], on_device=False) == [[]]
