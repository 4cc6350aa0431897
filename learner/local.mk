# SPDX-License-Identifier: Apache-2.0
include learner/kernels/local.mk
include learner/tokenizer/local.mk

noinst_LIBRARIES += learner/liblearner.a
learner_liblearner_a_SOURCES = \
	learner/average.c learner/average.h \
	learner/batch.c learner/batch.h \
	learner/ewc.c learner/ewc.h \
	learner/head.c learner/head.h \
	learner/head_private.h \
	learner/head_train.c \
	learner/learner.c learner/learner.h \
	learner/learner_private.h \
	learner/learner_step.c \
	learner/model.c learner/model.h \
	learner/model_pass.c \
	learner/ngram.c learner/ngram.h \
	learner/optim.c learner/optim.h
learner_liblearner_a_CFLAGS = $(AM_CFLAGS) $(PIC_CFLAGS) -fno-math-errno -fno-trapping-math

LEARNER_LIBS = learner/liblearner.a $(TOKENIZER_LIBS) $(KERNELS_LIBS)

include learner/infer/local.mk
