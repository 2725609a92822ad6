"""Where a PyTorch peer runs, the CPU or an NVIDIA GPU, and what is asked of the place around a call.

On the GPU f32 is strict (no TF32), cuDNN picks its algorithms by timing, and a call is over when the
device is idle.
"""

import torch


class Cpu:
    device = torch.device("cpu")
    name = None  # the caller knows its processor
    ways = ("eager", "compile")

    def wait(self):
        pass

    def forget_peak(self):
        pass

    def peak(self, call):
        """Nothing to tell: --memory measures whole processes."""
        return {}


class Gpu:
    device = torch.device("cuda")
    ways = ("eager", "compile", "graph")
    warm_ups = 3

    def __init__(self):
        if not torch.cuda.is_available():
            raise ValueError("PyTorch sees no NVIDIA GPU (torch.cuda.is_available() is false)")
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        self.name = torch.cuda.get_device_name()

    def wait(self):
        torch.cuda.synchronize()

    def peak(self, call):
        """The most device memory that tensors took since `forget_peak`, bytes. First `call` runs until it
        is settled: early runs record graphs and try algorithms."""
        for _ in range(self.warm_ups):
            call()
        self.wait()
        return {"peak_device_bytes": torch.cuda.max_memory_allocated()}

    def forget_peak(self):
        self.wait()
        torch.cuda.reset_peak_memory_stats()

    def captured(self, step, before=lambda: None):
        """`step` as one CUDA graph: a function that replays it and returns what `step` returned, tensors
        that each replay overwrites. `before` prepares the capture. The peak of the warm-up is forgotten,
        not that of the capture: only then do a replay's intermediate tensors count as allocated."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(self.warm_ups):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        before()
        torch.cuda.empty_cache()
        self.forget_peak()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = step()

        def replay():
            graph.replay()
            return result

        return replay


def place(name):
    """By its name, "cpu" or "cuda". Raises ValueError if it is not there."""
    return Gpu() if name == "cuda" else Cpu()
