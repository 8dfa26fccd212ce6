package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"shoal/tracker/server"
)

// trackerFlags are the settings of shoal tracker.
type trackerFlags struct {
	listen, http, state, urlFile string
	tlsCert, tlsKey              string
}

func trackerCommand() *cobra.Command {
	var f trackerFlags
	cmd := &cobra.Command{
		Use:   "tracker",
		Short: "Introduce viewers of a title to each other",
		Long:  trackerHelp,
		Example: `  shoal tracker --state /var/lib/shoal
  shoal tracker --listen 198.51.100.7:7000 --http 127.0.0.1:7001 --state ./tracker --url-file ./tracker.url`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runTracker(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", ":7000", "UDP address for peers")
	flags.StringVar(&f.http, "http", "127.0.0.1:7001", "TCP address of /healthz, /metrics and /stats; empty for none")
	flags.StringVar(&f.state, "state", "", "folder that keeps the tracker's key; without it the fingerprint changes with each start")
	flags.StringVar(&f.urlFile, "url-file", "", "file to write the tracker's URL to, once it listens")
	flags.StringVar(&f.tlsCert, "tls-cert", "", "certificate chain (PEM) that the peers' system roots confirm; the URL then has no fingerprint")
	flags.StringVar(&f.tlsKey, "tls-key", "", "private key (PEM) of --tls-cert")
	return cmd
}

const trackerHelp = `Introduce viewers of a title to each other.

The first line of output is the tracker's URL; give it to peers:

  shoal peer --tracker quic://HOST:PORT#FINGERPRINT

The fingerprint pins the tracker's key, which --state keeps across restarts.
A tracker that listens on all addresses names one of them; where peers reach it
by another name, write that one in its place.`

func runTracker(cmd *cobra.Command, f trackerFlags) error {
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	cfg := server.Config{Listen: f.listen, HTTP: f.http, StateDir: f.state, Logger: log}
	if (f.tlsCert == "") != (f.tlsKey == "") {
		return usagef("--tls-cert and --tls-key belong together")
	}
	if f.tlsCert != "" {
		cert, err := tls.LoadX509KeyPair(f.tlsCert, f.tlsKey)
		if err != nil {
			return fmt.Errorf("certificate of the tracker: %w", err)
		}
		cfg.Certificate = &cert
	}
	tracker, err := server.Start(cfg)
	if err != nil {
		return err
	}
	url := tracker.URL().String()
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), url); err != nil {
		return errors.Join(err, tracker.Close())
	}
	if f.urlFile != "" {
		if err := writeURLFile(f.urlFile, url); err != nil {
			return errors.Join(err, tracker.Close())
		}
	}
	if f.state == "" {
		log.Warn("the tracker's key is not kept, peers must be given the new URL after a restart; use --state DIR")
	}
	log.Info("tracker is ready", slog.String("url", url), slog.String("http", tracker.HTTPAddr()))
	<-cmd.Context().Done()
	return tracker.Close()
}

// writeURLFile replaces the file in one step: who waits for it to appear never
// reads half a URL.
func writeURLFile(path, url string) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), ".tracker-url-*")
	if err != nil {
		return fmt.Errorf("write URL file: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = fmt.Fprintln(temp, url)
	// Readable for the peers' users; the URL is no secret.
	if err = errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		return fmt.Errorf("write URL file: %w", err)
	}
	if err = os.Rename(temp.Name(), path); err != nil {
		return fmt.Errorf("write URL file: %w", err)
	}
	return nil
}
