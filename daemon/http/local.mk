# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += daemon/http/libhttp.a
daemon_http_libhttp_a_SOURCES = \
	daemon/http/api_completions.c \
	daemon/http/api_fields.c daemon/http/api_fields.h \
	daemon/http/api_events.c daemon/http/api_events.h \
	daemon/http/api_files.c \
	daemon/http/api_openapi.c \
	daemon/http/api_operations.c daemon/http/api_operations.h \
	daemon/http/api_page.c \
	daemon/http/api_quarantine.c \
	daemon/http/api_records.c \
	daemon/http/api_responses.c \
	daemon/http/api_status.c \
	daemon/http/api_text.c \
	daemon/http/api_tokenizer.c daemon/http/api_tokenizer.h \
	daemon/http/api_versions.c daemon/http/api_versions.h \
	daemon/http/completion.c daemon/http/completion.h \
	daemon/http/completion_logprobs.c \
	daemon/http/completion_logprobs.h \
	daemon/http/completion_prompt.c \
	daemon/http/completion_stream.c daemon/http/completion_stream.h \
	daemon/http/http.c daemon/http/http.h \
	daemon/http/http_admit.c \
	daemon/http/http_cancel.c daemon/http/http_cancel.h \
	daemon/http/http_coding.c daemon/http/http_coding.h \
	daemon/http/http_connections.c daemon/http/http_connections.h \
	daemon/http/http_cors.c daemon/http/http_cors.h \
	daemon/http/http_endpoints.c daemon/http/http_endpoints.h \
	daemon/http/http_head.c daemon/http/http_head.h \
	daemon/http/http_listen.c daemon/http/http_listen.h \
	daemon/http/http_mhd.c daemon/http/http_mhd.h \
	daemon/http/http_private.h \
	daemon/http/http_request.c daemon/http/http_request.h \
	daemon/http/http_serve.c \
	daemon/http/http_share.c daemon/http/http_share.h \
	daemon/http/http_slots.c daemon/http/http_slots.h \
	daemon/http/http_stream.c daemon/http/http_stream.h \
	daemon/http/http_tls.c daemon/http/http_tls.h \
	daemon/http/http_tokens.c daemon/http/http_tokens.h \
	daemon/http/page_files.h

# The page is built into the daemon.
PAGE_FILES = \
	daemon/http/page/index.html \
	daemon/http/page/style.css \
	daemon/http/page/icon.svg \
	daemon/http/page/main.js \
	daemon/http/page/dom.js \
	daemon/http/page/request.js \
	daemon/http/page/chart.js \
	daemon/http/page/measure.js \
	daemon/http/page/overview.js \
	daemon/http/page/heat_map.js \
	daemon/http/page/versions.js \
	daemon/http/page/quarantine.js \
	daemon/http/page/playground.js
nodist_daemon_http_libhttp_a_SOURCES = daemon/http/openapi_lines.c \
	daemon/http/page_files.c
EXTRA_DIST += $(PAGE_FILES) daemon/http/page_files.awk
CLEANFILES += daemon/http/page_files.c
daemon/http/page_files.c: $(PAGE_FILES) daemon/http/page_files.awk
	$(AM_V_GEN)$(MKDIR_P) daemon/http && \
	(cd $(srcdir) && $(AWK) -f daemon/http/page_files.awk $(PAGE_FILES)) \
	  > $@.tmp && mv $@.tmp $@

# So is what no table says about the endpoints.
EXTRA_DIST += daemon/http/openapi.json daemon/http/openapi.awk
CLEANFILES += daemon/http/openapi_lines.c
daemon/http/openapi_lines.c: daemon/http/openapi.json daemon/http/openapi.awk
	$(AM_V_GEN)$(MKDIR_P) daemon/http && \
	$(AWK) -v name=openapi_lines -f $(srcdir)/daemon/http/openapi.awk \
	  $(srcdir)/daemon/http/openapi.json > $@.tmp && mv $@.tmp $@

HTTP_LIBS = daemon/http/libhttp.a $(TRAIN_LIBS) $(MICROHTTPD_LIBS) \
	$(SSL_LIBS)
