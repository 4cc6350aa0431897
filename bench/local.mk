# SPDX-License-Identifier: Apache-2.0
#
# The measurements of `mneme bench`, and programs that are run by hand.
noinst_LIBRARIES += bench/libbench.a
bench_libbench_a_SOURCES = \
	bench/corpus.c bench/corpus.h \
	bench/figure.c bench/figure.h \
	bench/results.c bench/results.h \
	bench/scratch.c bench/scratch.h \
	bench/shapes.c bench/shapes.h \
	bench/speed.c bench/speed.h \
	bench/speed_infer.c \
	bench/speed_machine.c \
	bench/speed_publish.c \
	bench/speed_quantize.c \
	bench/speed_replay.c \
	bench/speed_train.c \
	bench/timed_ops.c bench/timed_ops.h

# speed_publish uses the daemon's snapshots and progress.
BENCH_LIBS = bench/libbench.a $(PUBLISH_LIBS)

# Learning and forgetting: `make bench/bench_learn`.
EXTRA_PROGRAMS += bench/bench_learn
bench_bench_learn_SOURCES = bench/bench_learn.c
bench_bench_learn_LDADD = $(LEARNER_LIBS) $(REPLAY_LIBS)

# Losses of a stream, for drift.py: `make bench/bench_drift`.
EXTRA_PROGRAMS += bench/bench_drift
bench_bench_drift_SOURCES = bench/bench_drift.c
bench_bench_drift_LDADD = $(LEARNER_LIBS) $(INTAKE_LIBS)

# Matrix products on each set of kernels: `make bench/bench_products`.
EXTRA_PROGRAMS += bench/bench_products
bench_bench_products_SOURCES = bench/bench_products.c
bench_bench_products_LDADD = $(LEARNER_LIBS)

# Refusals and time of the filters: `make bench/bench_filter`.
EXTRA_PROGRAMS += bench/bench_filter
bench_bench_filter_SOURCES = bench/bench_filter.c
bench_bench_filter_LDADD = $(PUBLISH_LIBS)

# The gate's rule on the versions of a data directory: `make bench/bench_gate`.
EXTRA_PROGRAMS += bench/bench_gate
bench_bench_gate_SOURCES = bench/bench_gate.c
bench_bench_gate_LDADD = $(PUBLISH_LIBS)

EXTRA_DIST += bench/drift.py bench/measure.py bench/long_run.py bench/compare_pytorch.py \
	bench/compare_llamacpp.py bench/serve_load.py bench/soak.py
