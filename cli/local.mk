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
	cli/cmd_doctor.c \
	cli/cmd_eval.c \
	cli/cmd_export.c \
	cli/cmd_feed.c \
	cli/cmd_import.c \
	cli/cmd_quarantine.c \
	cli/cmd_rollback.c \
	cli/cmd_status.c \
	cli/cmd_top.c \
	cli/cmd_token.c \
	cli/cmd_verify.c \
	cli/cmd_versions.c \
	cli/completion.c cli/completion.h \
	cli/demo_text.c cli/demo_text.h \
	cli/doctor.h cli/doctor_checks.c cli/doctor_source.c \
	cli/help.c cli/help.h \
	cli/http_feed.c cli/http_feed.h \
	cli/live.c cli/live.h \
	cli/mneme.c \
	cli/mnemed.c cli/mnemed.h \
	cli/pick.c cli/pick.h \
	cli/pieces.c cli/pieces.h \
	cli/producer.c cli/producer.h \
	cli/table.c cli/table.h \
	cli/top.c cli/top.h \
	cli/verb.c cli/verb.h \
	cli/verbs.c

# verify reads a data directory without the daemon; bench and eval measure in
# this process.
cli_mneme_LDADD = bench/libbench.a interchange/libinterchange.a $(EVAL_LIBS) $(JANSSON_LIBS) $(CURL_LIBS)

# Completion for bash, zsh and fish. Each shell looks for a file of this name.
bashcompletiondir = $(datadir)/bash-completion/completions
nodist_bashcompletion_DATA = cli/completion/mneme
zshcompletiondir = $(datadir)/zsh/site-functions
nodist_zshcompletion_DATA = cli/completion/_mneme
fishcompletiondir = $(datadir)/fish/vendor_completions.d
nodist_fishcompletion_DATA = cli/completion/mneme.fish
MNEME_COMPLETION = $(AM_V_GEN)$(MKDIR_P) cli/completion && \
	cli/mneme$(EXEEXT) completion
cli/completion/mneme: cli/mneme$(EXEEXT)
	$(MNEME_COMPLETION) bash >$@.new && mv $@.new $@
cli/completion/_mneme: cli/mneme$(EXEEXT)
	$(MNEME_COMPLETION) zsh >$@.new && mv $@.new $@
cli/completion/mneme.fish: cli/mneme$(EXEEXT)
	$(MNEME_COMPLETION) fish >$@.new && mv $@.new $@
CLEANFILES += cli/completion/mneme cli/completion/_mneme \
	cli/completion/mneme.fish
