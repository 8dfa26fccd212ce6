package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// The programs that are measured are processes of their own, and speak one
// protocol, in lines:
//
//	seed   "ready [ADDRESS]" once it has everything, then for each line that it
//	       reads "served BYTES", the payload that it has sent so far
//	leech  "ready", and after one line that it reads the transfer, "done BYTES"
//
// Both end when their input does.

// stopWithin bounds how long a process may take to end.
const stopWithin = 5 * time.Second

type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// start starts a program by way of begin: its own Start, or that of a host.
func start(cmd *exec.Cmd, begin func(*exec.Cmd) error) (*process, error) {
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := begin(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return &process{cmd, in, bufio.NewReader(out)}, nil
}

// await waits for the line that begins with a word, and returns its rest.
func (p *process) await(word string) (string, error) {
	line, err := p.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%s: %w while it should have said %q", p.cmd, err, word)
	}
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), word)
	if !ok {
		return "", fmt.Errorf("%s: said %q instead of %q", p.cmd, line, word)
	}
	return strings.TrimSpace(rest), nil
}

// awaitBytes is await for a line with a number.
func (p *process) awaitBytes(word string) (n int64, err error) {
	text, err := p.await(word)
	if err == nil {
		_, err = fmt.Sscan(text, &n)
	}
	return n, err
}

// tell writes a line, which is the sign to go on.
func (p *process) tell() error {
	_, err := io.WriteString(p.in, "go\n")
	return err
}

func (p *process) stop() {
	_ = p.in.Close()
	late := time.AfterFunc(stopWithin, func() { _ = p.cmd.Process.Kill() })
	_ = p.cmd.Wait()
	late.Stop()
}

// ticksPerSec is USER_HZ, in which Linux counts everywhere (proc(5)).
const ticksPerSec = 100

var errNoProc = errors.New("the processor time of other processes is read from /proc: run this on Linux")

// cpu is the processor time that the process has used, in user and system.
func (p *process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errNoProc, err)
	}
	// Fields 14 and 15; the second is a name that may contain anything.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, errNoProc
	}
	var user, system int64
	if _, err := fmt.Sscan(string(fields[11])+" "+string(fields[12]), &user, &system); err != nil {
		return 0, errNoProc
	}
	return time.Duration(user+system) * time.Second / ticksPerSec, nil
}

// serveLines is a role's answer to the lines that it reads, until they end.
func serveLines(served func() int64) error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println("served", served())
	}
	return lines.Err()
}

// awaitLine is how a leech waits for the sign.
func awaitLine() error {
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	return err
}
