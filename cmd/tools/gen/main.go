// Command gen writes the Go code of Dunlin's protobuf files. It compiles them
// itself and runs the pinned plugins, so that no protoc is needed.
//
//	go -C cmd/tools run ./gen          write proto/clusterpb/*.pb.go
//	go -C cmd/tools run ./gen -check   name stale files and exit 1
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// dir holds the sources and gets the generated files, as seen from cmd/tools.
const dir = "../../proto/clusterpb"

var sources = []string{"cluster.proto"}

var plugins = []string{"protoc-gen-go", "protoc-gen-go-grpc"}

func main() {
	check := flag.Bool("check", false, "compare with what is there and write nothing")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	req, err := request()
	if err != nil {
		return err
	}
	for _, name := range plugins {
		files, err := generate(name, req)
		if err != nil {
			return err
		}
		for _, f := range files {
			path := filepath.Join(dir, f.GetName())
			if !check {
				if err := os.WriteFile(path, []byte(f.GetContent()), 0o644); err != nil {
					return err
				}
				continue
			}
			have, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if !bytes.Equal(have, []byte(f.GetContent())) {
				return fmt.Errorf("%s is stale: run make gen", path)
			}
		}
	}
	return nil
}

// request compiles the sources into what a plugin is asked.
func request() ([]byte, error) {
	compiler := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{ImportPaths: []string{dir}},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), sources...)
	if err != nil {
		return nil, err
	}
	var protos []*descriptorpb.FileDescriptorProto
	for _, f := range files {
		protos = append(protos, protoutil.ProtoFromFileDescriptor(f))
	}
	return proto.Marshal(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: sources,
		Parameter:      proto.String("paths=source_relative"),
		ProtoFile:      protos,
	})
}

// generate has one plugin answer req.
func generate(plugin string, req []byte) ([]*pluginpb.CodeGeneratorResponse_File, error) {
	cmd := exec.Command("go", "tool", plugin)
	cmd.Stdin = bytes.NewReader(req)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", plugin, err)
	}
	var resp pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &resp); err != nil {
		return nil, fmt.Errorf("%s: %w", plugin, err)
	}
	if resp.Error != nil {
		return nil, fmt.Errorf("%s: %s", plugin, resp.GetError())
	}
	return resp.File, nil
}
