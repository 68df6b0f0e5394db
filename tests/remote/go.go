// A Go program, static and on raw system calls: reads and writes files, and asks an HTTP server if one is named.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	text, err := os.ReadFile(os.Args[1] + "/f1")
	fmt.Print(string(text), err, "\n")
	fmt.Println(os.WriteFile(os.Args[1]+"/from-go", []byte("from go\n"), 0o644))
	if len(os.Args) > 2 {
		answer, err := http.Get(os.Args[2])
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		body, err := io.ReadAll(answer.Body)
		fmt.Print(string(body), err, "\n")
	}
}
