# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += learner/infer/libinfer.a
learner_infer_libinfer_a_SOURCES = \
	learner/infer/frozen.c learner/infer/frozen.h \
	learner/infer/infer.c learner/infer/infer.h \
	learner/infer/infer_generate.c \
	learner/infer/infer_private.h \
	learner/infer/infer_read.c \
	learner/infer/prefix_cache.c learner/infer/prefix_cache.h \
	learner/infer/sample.c learner/infer/sample.h \
	learner/infer/shared_pass.c learner/infer/shared_pass.h
learner_infer_libinfer_a_CFLAGS = $(AM_CFLAGS) $(PIC_CFLAGS) -fno-math-errno -fno-trapping-math

INFER_LIBS = learner/infer/libinfer.a $(LEARNER_LIBS)
