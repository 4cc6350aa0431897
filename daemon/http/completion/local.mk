# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += daemon/http/completion/libcompletion.a
daemon_http_completion_libcompletion_a_SOURCES = \
	daemon/http/completion/api_fields.c daemon/http/completion/api_fields.h \
	daemon/http/completion/completion.c daemon/http/completion/completion.h \
	daemon/http/completion/completion_logprobs.c \
	daemon/http/completion/completion_logprobs.h \
	daemon/http/completion/completion_prompt.c \
	daemon/http/completion/completion_stream.c \
	daemon/http/completion/completion_stream.h \
	daemon/http/completion/token_json.c daemon/http/completion/token_json.h

HTTP_COMPLETION_LIBS = daemon/http/completion/libcompletion.a $(HTTP_REQUEST_LIBS)
