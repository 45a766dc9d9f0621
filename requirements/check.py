"""Check that the installed PyTorch, FBGEMM and TorchRec work together; ``make setup`` ends with it.

An index may offer another build of ``torch==2.13.0`` than the machine can load (on Linux PyPI's own
is the CUDA build, which needs NVIDIA's libraries), and nothing else would say so in plain words.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Exit with one line that says what to do where the three do not load."""
    try:
        import torch
        import torchrec  # noqa: F401
        from fbgemm_gpu.split_table_batched_embeddings_ops_training import (  # noqa: F401
            SplitTableBatchedEmbeddingBagsCodegen,
        )
    except (ImportError, OSError) as error:
        sys.exit(
            f"setup: PyTorch, FBGEMM and TorchRec do not load together ({error}). "
            "If pip chose a CUDA build of torch for a machine without CUDA, remove .venv and run "
            "PIP_EXTRA_INDEX_URL=<PyTorch's index of CPU wheels> make setup"
        )
    print(f"setup: torch {torch.__version__}, torchrec and FBGEMM load")


if __name__ == "__main__":
    main()
