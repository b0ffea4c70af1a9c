package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
)

// A scenario panics, by must and check, with what went wrong.
type scenario struct {
	name string
	run  func()
}

// run prints what became of each scenario as JSON: "" or the error that it ended in.
func run(scenarios []scenario) {
	outcomes := map[string]string{}
	for _, each := range scenarios {
		func() {
			defer func() {
				if wrong := recover(); wrong != nil {
					outcomes[each.name] = fmt.Sprintf("%v\n%s", wrong, debug.Stack())
				}
			}()
			each.run()
			outcomes[each.name] = ""
		}()
	}
	json.NewEncoder(os.Stdout).Encode(outcomes)
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func check(holds bool, otherwise string, values ...any) {
	if !holds {
		panic(fmt.Sprintf(otherwise, values...))
	}
}

// advance moves service time on by so many seconds.
func advance(endpoint string, seconds int) {
	body := fmt.Appendf(nil, `{"seconds": %d}`, seconds)
	answer := must(http.Post(endpoint+"/_trunkline/clock/advance", "application/json", bytes.NewReader(body)))
	defer answer.Body.Close()
	check(answer.StatusCode == 200, "advance was answered %s", answer.Status)
}
