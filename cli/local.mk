# SPDX-License-Identifier: Apache-2.0
bin_PROGRAMS += cli/mneme
cli_mneme_SOURCES = \
	cli/address.c cli/address.h \
	cli/bar.c cli/bar.h \
	cli/client.c cli/client.h \
	cli/cmd_ask.c \
	cli/cmd_backup.c \
	cli/cmd_bench.c \
	cli/cmd_demo.c \
	cli/cmd_eval.c \
	cli/cmd_feed.c \
	cli/cmd_quarantine.c \
	cli/cmd_rollback.c \
	cli/cmd_status.c \
	cli/cmd_token.c \
	cli/cmd_verify.c \
	cli/cmd_versions.c \
	cli/demo_text.c cli/demo_text.h \
	cli/help.c cli/help.h \
	cli/live.c cli/live.h \
	cli/mneme.c \
	cli/mnemed.c cli/mnemed.h \
	cli/pick.c cli/pick.h \
	cli/pieces.c cli/pieces.h \
	cli/producer.c cli/producer.h \
	cli/table.c cli/table.h \
	cli/verb.c cli/verb.h \
	cli/verbs.c

# verify reads a data directory without the daemon; bench and eval measure in
# this process.
cli_mneme_LDADD = bench/libbench.a $(EVAL_LIBS) $(JANSSON_LIBS) $(CURL_LIBS)

# bash looks for the completion of mneme in a file of that name.
bashcompletiondir = $(datadir)/bash-completion/completions
nodist_bashcompletion_DATA = cli/completion/mneme
cli/completion/mneme: cli/mneme$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) cli/completion && \
	  cli/mneme$(EXEEXT) help --completion >$@.new && mv $@.new $@
CLEANFILES += cli/completion/mneme
