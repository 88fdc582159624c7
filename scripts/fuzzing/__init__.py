"""Random damage to what the codec reads: no crash, no hang, no memory by what a header says.

A *target* (`fuzzing.targets`) makes one case from a random generator and judges what came of it.
A *worker* process (`fuzzing.worker`) runs cases under a limit of memory and says before each which
it is; the *supervisor* (`fuzzing.supervisor`) sees it die or stall, names the case and goes on
after it. Every case follows from target, seed and number alone, so each finding can be run again:

    scripts/fuzz --target tile --seed 7 --first 1234 --cases 1

Mutation without coverage: nearly all of what is fuzzed is compiled, where a coverage-guided fuzzer
for Python sees nothing; structure is known and used instead (checksums are made right again,
deflated parts are damaged inside).
"""
