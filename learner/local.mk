# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += learner/liblearner.a
learner_liblearner_a_SOURCES = \
	learner/batch.c \
	learner/model.c learner/model.h learner/model_pass.c \
	learner/ops.h learner/ops_ref.c
if WITH_BLAS
learner_liblearner_a_SOURCES += learner/ops_blas.c learner/vexp.h
endif

LEARNER_LIBS = learner/liblearner.a $(BASE_LIBS) $(OPENBLAS_LIBS) \
	$(JANSSON_LIBS) -lm

if HAVE_CMOCKA
check_PROGRAMS += tests/test_ops
tests_test_ops_SOURCES = tests/test_ops.c
tests_test_ops_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_ops_LDADD = $(LEARNER_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_model
tests_test_model_SOURCES = tests/test_model.c
tests_test_model_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) \
	-DTOP_SRCDIR='"$(abs_top_srcdir)"'
tests_test_model_LDADD = $(LEARNER_LIBS) $(CMOCKA_LIBS)
endif

# Timings: `make bench/bench_train`, and beside it in PyTorch
# bench/compare_pytorch.py.
EXTRA_PROGRAMS = bench/bench_train
bench_bench_train_SOURCES = bench/bench_train.c
bench_bench_train_LDADD = $(LEARNER_LIBS)
EXTRA_DIST += bench/compare_pytorch.py \
	tests/data/model_reference.py tests/data/model_reference.txt
