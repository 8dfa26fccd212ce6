package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"shoal/engine/manifest"
	"shoal/tracker/geo"
	"shoal/tracker/server"
)

// trackerFlags are the settings of shoal tracker.
type trackerFlags struct {
	listen, http, state       string
	urlFile, httpFile         string
	tlsCert, tlsKey           string
	allowHosts, geoip, titles []string
}

func trackerCommand() *cobra.Command {
	var f trackerFlags
	cmd := &cobra.Command{
		Use:   "tracker",
		Short: "Introduce viewers of a title to each other",
		Long:  trackerHelp,
		Example: `  shoal tracker --state /var/lib/shoal
  shoal tracker --listen 198.51.100.7:7000 --http 127.0.0.1:7001 --state ./tracker --url-file ./tracker.url
  shoal tracker --state ./tracker --geoip GeoLite2-City.mmdb --geoip GeoLite2-ASN.mmdb --title film/title.shoal`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runTracker(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", ":7000", "UDP address for peers")
	flags.StringVar(&f.http, "http", "127.0.0.1:7001", "TCP address of the swarm view at /, and of /healthz, /metrics and /stats; empty for none")
	flags.StringSliceVar(&f.allowHosts, "allow-host", nil, "name by which the swarm view and /stats may be asked for, beside addresses and localhost")
	flags.StringVar(&f.state, "state", "", "folder that keeps the tracker's key; without it the fingerprint changes with each start")
	flags.StringVar(&f.urlFile, "url-file", "", "file to write the tracker's URL to, once it listens")
	flags.StringVar(&f.httpFile, "http-file", "", "file to write the address of the swarm view to, once it listens")
	flags.StringSliceVar(&f.geoip, "geoip", nil, "database (.mmdb) that knows providers or regions, for the swarm view; can be given several times")
	flags.StringSliceVar(&f.titles, "title", nil, "title.shoal whose name the swarm view shows; can be given several times")
	flags.StringVar(&f.tlsCert, "tls-cert", "", "certificate chain (PEM) that the peers' system roots confirm; the URL then has no fingerprint")
	flags.StringVar(&f.tlsKey, "tls-key", "", "private key (PEM) of --tls-cert")
	return cmd
}

const trackerHelp = `Introduce viewers of a title to each other.

The first line of output is the tracker's URL; give it to peers:

  shoal peer --tracker quic://HOST:PORT#FINGERPRINT

The fingerprint pins the tracker's key, which --state keeps across restarts.
A tracker that listens on all addresses names one of them; where peers reach it
by another name, write that one in its place.

A browser finds the swarm view at the address of --http: who watches what, who
feeds whom, and what it saves. It shows no addresses of peers, but it is for
operators: anyone who reaches the port can look.`

func runTracker(cmd *cobra.Command, f trackerFlags) error {
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	cfg, err := f.config(cmd.Context())
	if err != nil {
		return err
	}
	cfg.Logger = log
	places, err := geo.Open(f.geoip...)
	if err != nil {
		return err
	}
	cfg.Bounds.Locate = places.Lookup
	tracker, err := server.Start(cfg)
	if err != nil {
		return errors.Join(err, places.Close())
	}
	err = f.serve(cmd, log, tracker)
	return errors.Join(err, tracker.Close(), places.Close())
}

// config reads what the flags name.
func (f trackerFlags) config(ctx context.Context) (server.Config, error) {
	cfg := server.Config{Listen: f.listen, HTTP: f.http, StateDir: f.state, AllowHosts: f.allowHosts}
	switch {
	case (f.tlsCert == "") != (f.tlsKey == ""):
		return cfg, usagef("--tls-cert and --tls-key belong together")
	case f.httpFile != "" && f.http == "":
		return cfg, usagef("--http-file needs --http ADDR")
	}
	if f.tlsCert != "" {
		cert, err := tls.LoadX509KeyPair(f.tlsCert, f.tlsKey)
		if err != nil {
			return cfg, fmt.Errorf("certificate of the tracker: %w", err)
		}
		cfg.Certificate = &cert
	}
	cfg.Titles = make(map[[32]byte]string, len(f.titles))
	for _, path := range f.titles {
		id, name, err := titleName(ctx, path)
		if err != nil {
			return cfg, fmt.Errorf("--title: %w", err)
		}
		cfg.Titles[id] = name
	}
	return cfg, nil
}

// titleName reads the signed header of a title.shoal.
func titleName(ctx context.Context, path string) (id manifest.TitleID, name string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return id, "", err
	}
	defer func() { _ = file.Close() }() // only read
	title, err := manifest.Open(ctx, manifest.ReaderAtSource(file))
	if err != nil {
		return id, "", fmt.Errorf("%s: %w; give the title.shoal that shoal pack has written", path, err)
	}
	return title.ID(), title.Name(), nil
}

// serve says where the tracker is and waits for the end.
func (f trackerFlags) serve(cmd *cobra.Command, log *slog.Logger, tracker *server.Server) error {
	url := tracker.URL().String()
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), url); err != nil {
		return err
	}
	if f.urlFile != "" {
		if err := writeURLFile(f.urlFile, url); err != nil {
			return err
		}
	}
	if f.httpFile != "" {
		if err := writeURLFile(f.httpFile, tracker.ViewURL()); err != nil {
			return err
		}
	}
	if f.state == "" {
		log.Warn("the tracker's key is not kept, peers must be given the new URL after a restart; use --state DIR")
	}
	log.Info("tracker is ready", slog.String("url", url), slog.String("http", tracker.HTTPAddr()), slog.String("view", tracker.ViewURL()))
	<-cmd.Context().Done()
	return nil
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
