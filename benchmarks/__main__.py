"""`make bench`: every benchmark, one after the other. Each can be run alone, see its --help."""

from benchmarks import binary, compression, ising, measuring, planning, real, rivals, rounding, samplers, selection

if __name__ == "__main__":
    print("## Samplers beside their peers\n\n" + samplers.main([]))
    print("\n## Planning at ResNet-18's shapes\n\n" + planning.main([]))
    print("\n## Measuring widths and removals\n\n" + measuring.main([]))
    print("\n## Compression of ResNet-20 at equal bytes\n\n" + compression.main([]))
    print("\n## Trained networks at equal bytes\n\n" + real.main([]))
    print("\n## Rounding\n\n" + rounding.main([]))
    print("\n## Networks trained on an annealer\n\n" + ising.main([]))
    print("\n## Binary networks\n\n" + binary.main([]))
    print("\n## The cheapest rivals of small networks\n\n" + rivals.main([]))
    print("\n## Neuron selection and simulated quantum devices\n\n" + selection.main([]))
