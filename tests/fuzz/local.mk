# SPDX-License-Identifier: Apache-2.0
#
# Fuzz targets: code that parses bytes from outside. `make check` repeats the
# corpus of each. With CC=clang and --enable-fuzzing, `make fuzz` looks for new
# inputs for FUZZ_SECONDS each; what it finds joins tests/fuzz/corpus.
FUZZ_TARGETS = tests/fuzz/fuzz_yaml \
	tests/fuzz/fuzz_record \
	tests/fuzz/fuzz_lines \
	tests/fuzz/fuzz_http \
	tests/fuzz/fuzz_safetensors \
	tests/fuzz/fuzz_tokenizer \
	tests/fuzz/fuzz_replay_row \
	tests/fuzz/fuzz_config_json \
	tests/fuzz/fuzz_model_index \
	tests/fuzz/fuzz_gguf \
	tests/fuzz/fuzz_version_metadata \
	tests/fuzz/fuzz_http_body
FUZZ_SECONDS = 20
FUZZ_UTIL = tests/fuzz/fuzz.h tests/fuzz/fuzz_file.c
FUZZ_STORE = tests/fuzz/fuzz_store.h tests/fuzz/fuzz_store.c
if FUZZING
FUZZ_MAIN =
FUZZ_FLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
else
FUZZ_MAIN = tests/fuzz/replay_corpus.c
FUZZ_FLAGS = $(AM_LDFLAGS)
endif
check_PROGRAMS += $(FUZZ_TARGETS)
tests_fuzz_fuzz_yaml_SOURCES = tests/fuzz/fuzz_yaml.c $(FUZZ_UTIL) $(FUZZ_MAIN)
tests_fuzz_fuzz_yaml_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_yaml_LDADD = $(CONF_LIBS) $(BASE_LIBS) $(BASE_LIBS)
tests_fuzz_fuzz_record_SOURCES = tests/fuzz/fuzz_record.c $(FUZZ_UTIL) $(FUZZ_MAIN)
tests_fuzz_fuzz_record_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_record_LDADD = $(STREAM_LIBS) $(BASE_LIBS)
tests_fuzz_fuzz_lines_SOURCES = tests/fuzz/fuzz_lines.c $(FUZZ_UTIL) $(FUZZ_MAIN)
tests_fuzz_fuzz_lines_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_lines_LDADD = $(BASE_LIBS) $(BASE_LIBS)
tests_fuzz_fuzz_http_SOURCES = tests/fuzz/fuzz_http.c $(FUZZ_UTIL) $(FUZZ_MAIN)
tests_fuzz_fuzz_http_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_http_LDADD = $(HTTP_LIBS) $(BASE_LIBS)
tests_fuzz_fuzz_safetensors_SOURCES = tests/fuzz/fuzz_safetensors.c $(FUZZ_UTIL) $(FUZZ_MAIN)
tests_fuzz_fuzz_safetensors_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_safetensors_LDADD = $(STORE_LIBS) $(BASE_LIBS)
tests_fuzz_fuzz_tokenizer_SOURCES = tests/fuzz/fuzz_tokenizer.c $(FUZZ_UTIL) $(FUZZ_MAIN)
tests_fuzz_fuzz_tokenizer_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_tokenizer_LDADD = $(TOKENIZER_LIBS) $(BASE_LIBS)
tests_fuzz_fuzz_replay_row_SOURCES = tests/fuzz/fuzz_replay_row.c $(FUZZ_UTIL) $(FUZZ_MAIN)
tests_fuzz_fuzz_replay_row_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_replay_row_LDADD = $(REPLAY_LIBS) $(BASE_LIBS)
tests_fuzz_fuzz_config_json_SOURCES = tests/fuzz/fuzz_config_json.c $(FUZZ_UTIL) $(FUZZ_MAIN)
tests_fuzz_fuzz_config_json_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_config_json_LDADD = $(STORE_LIBS) $(BASE_LIBS)
tests_fuzz_fuzz_model_index_SOURCES = tests/fuzz/fuzz_model_index.c $(FUZZ_UTIL) $(FUZZ_MAIN)
tests_fuzz_fuzz_model_index_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_model_index_LDADD = $(INTERCHANGE_LIBS) $(BASE_LIBS)
tests_fuzz_fuzz_gguf_SOURCES = tests/fuzz/fuzz_gguf.c $(FUZZ_UTIL) $(FUZZ_MAIN)
tests_fuzz_fuzz_gguf_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_gguf_LDADD = $(INTERCHANGE_LIBS) $(BASE_LIBS)
tests_fuzz_fuzz_version_metadata_SOURCES = tests/fuzz/fuzz_version_metadata.c \
	$(FUZZ_STORE) $(FUZZ_UTIL) $(FUZZ_MAIN)
tests_fuzz_fuzz_version_metadata_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_version_metadata_LDADD = $(PUBLISH_LIBS) $(BASE_LIBS)
tests_fuzz_fuzz_http_body_SOURCES = tests/fuzz/fuzz_http_body.c \
	$(FUZZ_STORE) $(FUZZ_UTIL) $(FUZZ_MAIN)
tests_fuzz_fuzz_http_body_LDFLAGS = $(FUZZ_FLAGS)
tests_fuzz_fuzz_http_body_LDADD = $(HTTP_LIBS) $(BASE_LIBS)

# Only these programs and their libraries; `make all` builds much more.
fuzz-programs: $(FUZZ_TARGETS)
fuzz: fuzz-programs
	$(SHELL) $(srcdir)/tests/fuzz/run_fuzz.sh $(FUZZ_SECONDS) \
	  '$(srcdir)/tests/fuzz/corpus' $(FUZZ_TARGETS)
.PHONY: fuzz fuzz-programs

EXTRA_DIST += tests/fuzz/corpus tests/fuzz/run_fuzz.sh
