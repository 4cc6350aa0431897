# SPDX-License-Identifier: Apache-2.0
#
# The measurements of `mneme eval`: the daemon's learning without a daemon.
noinst_LIBRARIES += eval/libeval.a
eval_libeval_a_SOURCES = \
	eval/eval.c eval/eval.h \
	eval/eval_chart.c \
	eval/eval_pool.c eval/eval_pool.h \
	eval/eval_run.c eval/eval_run.h \
	eval/eval_texts.c eval/eval_texts.h \
	eval/eval_versions.c \
	eval/measures.c eval/measures.h

EVAL_LIBS = eval/libeval.a $(TRAIN_LIBS)
