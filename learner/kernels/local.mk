# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += learner/kernels/libkernels.a
learner_kernels_libkernels_a_SOURCES = \
	learner/kernels/attention.c learner/kernels/attention.h \
	learner/kernels/block.c learner/kernels/block.h \
	learner/kernels/hot.h \
	learner/kernels/kernels.c learner/kernels/kernels.h \
	learner/kernels/kernels_x86.c learner/kernels/kernels_x86.h \
	learner/kernels/ops.h \
	learner/kernels/ops_ref.c \
	learner/kernels/packed.c learner/kernels/packed.h \
	learner/kernels/panels.c learner/kernels/panels.h \
	learner/kernels/products.c learner/kernels/products.h \
	learner/kernels/spent.c learner/kernels/spent.h \
	learner/kernels/vexp.h \
	learner/kernels/workers.c learner/kernels/workers.h
learner_kernels_libkernels_a_CFLAGS = $(AM_CFLAGS) $(PIC_CFLAGS) -fno-math-errno -fno-trapping-math
if FUZZING
# They parse nothing, and clang needs minutes to instrument kernels_x86.c.
learner_kernels_libkernels_a_CFLAGS += -fno-sanitize=all
endif
if WITH_BLAS
learner_kernels_libkernels_a_SOURCES += learner/kernels/ops_blas.c
endif

KERNELS_LIBS = learner/kernels/libkernels.a $(BASE_LIBS) $(OPENBLAS_LIBS) -lm
