"""What is written: the plan, packed codes in safetensors, ONNX; and how many bytes that takes."""
