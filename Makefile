# The same tasks by shorter names: make study ARGS="--profile smoke"
PYTHON ?= python3

.PHONY: study test figures env clean
study test figures env clean:
	@$(PYTHON) make.py $@ $(ARGS)
