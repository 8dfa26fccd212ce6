package main

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"shoal/engine/manifest"
	"shoal/engine/manifest/pack"
)

// packFlags are the flags of shoal pack.
type packFlags struct {
	out      string
	key      string
	name     string
	torrent  string
	webSeeds []string
	verify   bool
}

// packCommand makes a title's manifest.
func packCommand() *cobra.Command {
	var f packFlags
	cmd := &cobra.Command{
		Use:   "pack SRC",
		Short: "Make the manifest of a title, so that peers can share it",
		Long: `Make title.shoal, the signed manifest of a title, of a folder with HLS or MP4 files, of one
playlist or MP4 in it, or of the HTTP URL of a master playlist or MP4.

Put title.shoal where the title's top folder is on the CDN: peers look for it beside
what their player asks for, and in the folders above. It is written into SRC when
that is local, and to NAME/title.shoal when it is a URL.

The title's identity is made of the publisher's key and the title's name (--name;
by default the name of the top folder). Keep both, and a title that is packed again, with a
track more or on another host, stays the same title.`,
		Example: `  shoal pack ./film
  shoal pack https://cdn.example.com/film/master.m3u8 --out title.shoal
  shoal pack ./film --torrent film.torrent --web-seed https://cdn.example.com/
  shoal pack ./film --verify`,
		Args:         cobra.ExactArgs(1),
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.verify {
				return f.runVerify(cmd, args[0])
			}
			return f.runPack(cmd, args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.out, "out", "", "write the manifest to `FILE` (default SRC/title.shoal, for a URL NAME/title.shoal)")
	flags.StringVar(&f.key, "key", "", "publisher's Ed25519 key `FILE`, PKCS #8 in PEM; created when missing (default shoal/publisher.key in the user's configuration)")
	flags.StringVar(&f.name, "name", "", "the title's `NAME` (default the name of its top folder)")
	flags.StringVar(&f.torrent, "torrent", "", "also export BitTorrent v2 metainfo to `FILE`")
	flags.StringArrayVar(&f.webSeeds, "web-seed", nil, "`URL` of the folder above the title's, for --torrent; may be repeated (default, for a URL, its own)")
	flags.BoolVar(&f.verify, "verify", false, "check SRC against its title.shoal and name each bad file and piece; with --key also its publisher")
	return cmd
}

func (f *packFlags) runPack(cmd *cobra.Command, src string) error {
	if len(f.webSeeds) > 0 && f.torrent == "" {
		return usagef("--web-seed is for --torrent, which is missing")
	}
	for _, seed := range f.webSeeds {
		if !pack.IsURL(seed) {
			return usagef("--web-seed %s: not an HTTP URL", seed)
		}
	}
	key, err := f.publisherKey(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	var r *pack.Result
	err = withProgress(cmd, func(ctx context.Context, p *pack.Progress) (err error) {
		r, err = pack.Pack(ctx, pack.Options{Source: src, Name: f.name, Progress: p})
		return err
	})
	if err != nil {
		return sourceError(src, err)
	}
	out, err := f.outFile(src, r)
	if err != nil {
		return err
	}
	err = writeFile(out, func(w io.Writer) error { return manifest.Write(w, key, r.Content) })
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	id := manifest.TitleIDOf(key.Public().(ed25519.PublicKey), r.Content.Name)
	_, _ = fmt.Fprintf(w, "title %s (%s)\n", id, r.Content.Name)
	_, _ = fmt.Fprintf(w, "%d tracks, %d files, %d pieces, %s\n", len(r.Content.Tracks), len(r.Content.Files), r.Pieces, byteText(r.Bytes))
	_, _ = fmt.Fprintf(w, "wrote %s\n", out)
	if f.torrent == "" {
		return nil
	}
	var infohash [32]byte
	err = writeFile(f.torrent, func(w io.Writer) (err error) {
		infohash, err = r.WriteTorrent(w, pack.TorrentOptions{WebSeeds: f.webSeeds})
		return err
	})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(w, "wrote %s (infohash %s)\n", f.torrent, hex.EncodeToString(infohash[:]))
	return nil
}

func (f *packFlags) runVerify(cmd *cobra.Command, src string) error {
	if f.torrent != "" || f.out != "" {
		return usagef("--verify writes nothing: leave out --torrent and --out")
	}
	var title *manifest.Title
	var problems []pack.Problem
	err := withProgress(cmd, func(ctx context.Context, p *pack.Progress) (err error) {
		title, problems, err = pack.Verify(ctx, pack.Options{Source: src, Progress: p})
		return err
	})
	if err != nil {
		return sourceError(src, err)
	}
	if cmd.Flags().Changed("key") {
		key, err := pack.LoadKey(f.key)
		if err != nil {
			return fmt.Errorf("publisher's key: %w", err)
		}
		if !title.Publisher().Equal(key.Public()) {
			return fmt.Errorf("%s: %s: publisher: it is not the one of --key", src, manifest.FileName)
		}
	}
	w := cmd.OutOrStdout()
	bad := make(map[string]bool)
	for _, p := range problems {
		bad[p.Path] = true
		_, _ = fmt.Fprintln(w, p)
	}
	if len(bad) > 0 {
		return fmt.Errorf("%s: %d files do not match their title.shoal", src, len(bad))
	}
	_, _ = fmt.Fprintf(w, "title %s (%s): every file is as recorded\n", title.ID(), title.Name())
	return nil
}

// sourceError puts the source before what is wrong in it, without a URL's query, which may be a token.
func sourceError(src string, err error) error {
	if pack.IsURL(src) {
		src, _, _ = strings.Cut(src, "?")
	}
	return fmt.Errorf("%s: %w", src, err)
}

func (f *packFlags) publisherKey(w io.Writer) (ed25519.PrivateKey, error) {
	file := f.key
	if file == "" {
		var err error
		if file, err = pack.DefaultKeyFile(); err != nil {
			return nil, err
		}
	}
	key, created, err := pack.LoadOrCreateKey(file)
	if err != nil {
		return nil, fmt.Errorf("publisher's key: %w", err)
	}
	if created {
		_, _ = fmt.Fprintf(w, "made a publisher's key: %s (keep it: your titles' identities depend on it)\n", file)
	}
	return key, nil
}

// outFile is where the manifest goes.
func (f *packFlags) outFile(src string, r *pack.Result) (string, error) {
	switch {
	case f.out != "":
		return f.out, nil
	case pack.IsURL(src):
		if !filepath.IsLocal(r.Folder) {
			return "", fmt.Errorf("%q cannot be a folder here: say where to write with --out", r.Folder)
		}
		return filepath.Join(r.Folder, manifest.FileName), os.MkdirAll(r.Folder, 0o755)
	}
	info, err := os.Stat(src)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		src = filepath.Dir(src)
	}
	return filepath.Join(src, manifest.FileName), nil
}

// writeFile writes a file that is there completely or not at all: a web server may be serving the folder.
func writeFile(name string, write func(io.Writer) error) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".shoal-*")
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
			err = fmt.Errorf("%s: %w", name, err)
		}
	}()
	if err := write(tmp); err != nil {
		return err
	}
	if err := tmp.Chmod(0o644); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}

// progressInterval is often enough to look alive and seldom enough to cost nothing.
const progressInterval = 200 * time.Millisecond

// withProgress runs work and, on a terminal, draws how far it is.
func withProgress(cmd *cobra.Command, work func(context.Context, *pack.Progress) error) error {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	var p pack.Progress
	terminal, ok := cmd.ErrOrStderr().(*os.File)
	if !ok || !isatty.IsTerminal(terminal.Fd()) {
		return work(ctx, &p)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(progressInterval)
		defer tick.Stop()
		start := time.Now()
		for {
			select {
			case <-done:
				_, _ = fmt.Fprint(terminal, "\r\x1b[K")
				return
			case <-tick.C:
				_, _ = fmt.Fprint(terminal, "\r\x1b[K"+progressLine(&p, time.Since(start)))
			}
		}
	})
	err := work(ctx, &p)
	close(done)
	wg.Wait()
	return err
}

const barCells = 30

func progressLine(p *pack.Progress, elapsed time.Duration) string {
	done, total := p.DoneBytes.Load(), p.TotalBytes.Load()
	rate := int64(float64(done) / max(elapsed.Seconds(), 0.001))
	files := fmt.Sprintf("%d/%d files, %s, %s/s", p.DoneFiles.Load(), p.TotalFiles.Load(), byteText(done), byteText(rate))
	if total <= 0 {
		return files
	}
	cells := int(done * barCells / total)
	return fmt.Sprintf("[%s%s] %3d %%  %s", strings.Repeat("=", cells), strings.Repeat(" ", barCells-cells), done*100/total, files)
}

// byteText writes a number of bytes for people.
func byteText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, i := float64(n)/unit, 0
	for ; value >= unit && i < 4; i++ {
		value /= unit
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[i])
}
