# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += learner/liblearner.a
learner_liblearner_a_CFLAGS = $(AM_CFLAGS) -fno-math-errno -fno-trapping-math
learner_liblearner_a_SOURCES = \
	learner/attention.c learner/attention.h \
	learner/panels.c learner/panels.h \
	learner/products.c learner/products.h \
	learner/batch.c \
	learner/cut.c learner/cut.h \
	learner/block.c learner/block.h \
	learner/ewc.c learner/ewc.h \
	learner/frozen.c learner/frozen.h learner/frozen_impl.h \
	learner/frozen_weights.c \
	learner/grams.c learner/grams.h \
	learner/head.c learner/head.h learner/head_impl.h learner/head_train.c \
	learner/hot.h \
	learner/infer.c learner/infer.h learner/infer_impl.h \
	learner/infer_generate.c learner/infer_read.c \
	learner/kernels.c learner/kernels.h \
	learner/kernels_x86.c learner/kernels_x86.h \
	learner/learner.c learner/learner.h learner/learner_impl.h \
	learner/learner_examples.c learner/learner_examples.h \
	learner/learner_state.c learner/learner_step.c \
	learner/model.c learner/model.h learner/model_pass.c \
	learner/ops.h learner/ops_ref.c \
	learner/optim.c learner/optim.h \
	learner/packed.c learner/packed.h \
	learner/pretoken.c learner/pretoken.h \
	learner/sample.c learner/sample.h \
	learner/spent.c learner/spent.h \
	learner/tokenizer.c learner/tokenizer.h learner/tokenizer_impl.h \
	learner/tokenizer_json.c learner/tokenizer_train.c \
	learner/unicode_classes.c learner/unicode_classes.h \
	learner/vexp.h \
	learner/workers.c learner/workers.h
if WITH_BLAS
learner_liblearner_a_SOURCES += learner/ops_blas.c
endif

LEARNER_LIBS = learner/liblearner.a $(BASE_LIBS) $(OPENBLAS_LIBS) \
	$(JANSSON_LIBS) -lm

if HAVE_CMOCKA
check_PROGRAMS += tests/test_ops
tests_test_ops_SOURCES = tests/test_ops.c \
	tests/near_util.c tests/near_util.h
tests_test_ops_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_ops_LDADD = $(LEARNER_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_packed
tests_test_packed_SOURCES = tests/test_packed.c
tests_test_packed_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_packed_LDADD = $(LEARNER_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_frozen
tests_test_frozen_SOURCES = tests/test_frozen.c \
	tests/near_util.c tests/near_util.h
tests_test_frozen_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) \
	-DTOP_SRCDIR='"$(abs_top_srcdir)"'
tests_test_frozen_LDADD = $(LEARNER_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_model
tests_test_model_SOURCES = tests/test_model.c \
	tests/near_util.c tests/near_util.h
tests_test_model_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) \
	-DTOP_SRCDIR='"$(abs_top_srcdir)"'
tests_test_model_LDADD = $(LEARNER_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_optim
tests_test_optim_SOURCES = tests/test_optim.c
tests_test_optim_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_optim_LDADD = $(LEARNER_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_ewc
tests_test_ewc_SOURCES = tests/test_ewc.c
tests_test_ewc_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_ewc_LDADD = $(LEARNER_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_head
tests_test_head_SOURCES = tests/test_head.c
tests_test_head_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_head_LDADD = $(LEARNER_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_learner
tests_test_learner_SOURCES = tests/test_learner.c
tests_test_learner_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) \
	-DTOP_SRCDIR='"$(abs_top_srcdir)"'
tests_test_learner_LDADD = $(LEARNER_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_forgetting
tests_test_forgetting_SOURCES = tests/test_forgetting.c
tests_test_forgetting_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_forgetting_LDADD = learner/liblearner.a $(REPLAY_LIBS) \
	$(LEARNER_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_cut
tests_test_cut_SOURCES = tests/test_cut.c
tests_test_cut_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_cut_LDADD = $(LEARNER_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_infer
tests_test_infer_SOURCES = tests/test_infer.c \
	tests/infer_util.c tests/infer_util.h
tests_test_infer_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_infer_LDADD = $(LEARNER_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_infer_read
tests_test_infer_read_SOURCES = tests/test_infer_read.c \
	tests/infer_util.c tests/infer_util.h
tests_test_infer_read_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_infer_read_LDADD = $(LEARNER_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_infer_generate
tests_test_infer_generate_SOURCES = tests/test_infer_generate.c \
	tests/infer_util.c tests/infer_util.h
tests_test_infer_generate_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_infer_generate_LDADD = $(LEARNER_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_tokenizer
tests_test_tokenizer_SOURCES = tests/test_tokenizer.c
tests_test_tokenizer_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_tokenizer_LDADD = $(LEARNER_LIBS) $(CMOCKA_LIBS)
endif

EXTRA_DIST += learner/unicode_classes.py tests/compat_tokenizer.py \
	tests/compat_greedy.py tests/data/saved_again/README \
	tests/data/saved_again/config.json \
	tests/data/saved_again/model.safetensors \
	tests/data/saved_again/tokenizer.json \
	tests/data/saved_again/tokenizer_config.json \
	tests/data/model_reference.py tests/data/model_reference.txt
