"""From kernels to code: an intermediate form is made of syntax trees, checked, differentiated and printed.

`reading` makes the intermediate form (`ir`) of a kernel, `program` that of all kernels of a simulator.
`checks` refuses what would be wrong and watches what cannot be known; `autodiff` makes adjoints, tangents;
`codegen` prints Taichi kernels. `interpret` runs the form by hand; `explain` tells what became of a kernel.
"""
