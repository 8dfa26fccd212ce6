#!/usr/bin/env bash
# Makes the sample title, a shoal of fish under water, out of nothing but ffmpeg's own sources (5.1 or newer, no downloads).
#
#   scripts/media.sh sample [DIR]   testdata/media: 640x360 and 320x180, fMP4 HLS, 66 s, below 6 MiB
#   scripts/media.sh large [DIR]    build/media: 1280x720 and 640x360 as HLS (TS, fMP4, byte ranges of one file, separate audio) and as MP4
#
# The picture is drawn once, without loss, and then encoded for every form. All motion is a function of the time alone,
# so two runs of one ffmpeg draw the same film.
set -euo pipefail

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
[ $# -ge 1 ] || usage
form=$1
case $form in
  sample) out=${2:-testdata/media} width=640 height=360 seconds=${SECONDS_OF_FILM:-66} ;;
  large)  out=${2:-build/media} width=1280 height=720 seconds=${SECONDS_OF_FILM:-60} ;;
  *) usage ;;
esac
command -v ffmpeg >/dev/null || { echo "media.sh: ffmpeg is missing; run: make deps" >&2; exit 1; }

rate=25
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ff() { ffmpeg -hide_banner -loglevel error -nostdin -y "$@"; }
flat() { tr -d '\n '; }

# --- the parts of the picture -------------------------------------------------------------------------------------
# Expressions are ffmpeg's geq: X and Y pixels, N frame, T seconds, st(i,v) and ld(i) are registers.

# Light from above in slowly turning rays, two ridges, and sand with a net of light on it. Coordinates 0..1 of 320x180.
# The sea moves slowly: it is drawn 5 times a second and blended up to the frame rate.
ground=$(flat <<'E'
st(0,X/320);st(1,Y/180);
st(5,clip((ld(1)-0.83+0.04*sin(7*ld(0)+1)+0.02*sin(17*ld(0)))*90+0.5,0,1));
st(6,clip((ld(1)-0.92+0.03*sin(5*ld(0)+4)+0.012*sin(13*ld(0)+2))*120+0.5,0,1));
E
)
light=$(flat <<'E'
st(2,(ld(0)-0.62+0.05*sin(T*0.11))/(ld(1)+0.55));
st(3,pow(0.5+0.5*sin(23*ld(2)+1.7*sin(T*0.23)),2)*(0.6+0.4*sin(9*ld(2)-T*0.31))
 +0.7*pow(0.5+0.5*sin(41*ld(2)-T*0.37),3));
st(4,(1-ld(1))*(1-ld(1)));
st(7,40+116*pow(1-ld(1),1.5)+46*ld(3)*ld(4)
 +18*ld(4)*pow(1-ld(1),6)*sin(60*ld(0)+4*sin(T*0.7)+8*ld(1)*sin(T*0.3)));
st(8,62+10*pow(0.5+0.5*sin(30*ld(0)+2*sin(24*ld(1)-T*0.5)-T*0.4),3));
st(9,92+180*(ld(1)-0.9)+26*pow(0.5+0.5*sin(34*ld(0)+3*sin(26*ld(1)+T*0.6)+T*0.5),4));
st(7,ld(7)+ld(5)*(ld(8)-ld(7)));
ld(7)+ld(6)*(ld(9)-ld(7))
E
)
sea() {
  ff -f lavfi -i "nullsrc=s=320x180:r=5:d=$seconds,format=yuv444p,geq=lum='$ground$light':cb='${ground}ld(6)*112+(1-ld(6))*(146+12*ld(1)-8*ld(5))':cr='${ground}ld(6)*136+(1-ld(6))*(84+22*ld(1)+4*ld(5))'" \
    -c:v ffv1 "$work/sea.mkv"
}

# A fish, head to the right, in 160x80; its tail beats once in 20 frames. Registers 0 and 1 are the axes of the bent body,
# 9 is the coverage, and 4 becomes the shade from back (0) to belly (1).
body=$(flat <<'E'
st(0,(X-84)/72);
st(1,(Y-40)/36+0.16*(0.75-ld(0))*(0.75-ld(0))*sin(2*PI*N/20+2.2*ld(0)));
st(2,(ld(0)-0.22)/0.68);
st(3,if(lt(abs(ld(2)),1),0.50*sqrt(1-ld(2)*ld(2))*(0.86+0.22*ld(2)-0.12*ld(2)*ld(2)),0));
st(4,clip((-0.30-ld(0))/0.62,0,1));
st(5,if(gt(ld(4),0)*lt(ld(4),1),0.09+0.62*ld(4)-0.88*max(0,ld(4)-0.72),0));
st(6,if(gt(ld(4),0.55)*lt(abs(ld(1)),0.62*(ld(4)-0.55)),0,ld(5)));
st(7,if(lt(abs(ld(0)-0.14),0.42),0.22*pow(cos((ld(0)-0.14)/0.42*PI/2),0.6),0));
st(8,gt(max(ld(3),ld(6)),0)*clip((max(ld(3),ld(6))-abs(ld(1)))*26+0.5,0,1));
st(9,max(ld(8),0.8*lt(ld(1),0)*gt(ld(3),0)*clip((ld(3)+ld(7)-abs(ld(1)))*26+0.5,0,1)));
st(4,clip(0.5+ld(1)/0.9,0,1));
E
)
eye="hypot((ld(0)-0.66)*72,(ld(1)+0.10)*36)"
tone() { echo "${body}if(lt($eye,2.6),12,if(lt($eye,4.6),235,min(255,$1)))"; }
fish_sprite() { # name red green blue
  ff -f lavfi -i "nullsrc=s=160x80:r=$rate:d=0.8,format=rgba,geq=r='$(tone "$2")':g='$(tone "$3")':b='$(tone "$4")':a='${body}255*ld(9)'" \
    -c:v ffv1 "$work/$1.mkv"
}

# Three blades of kelp in 72x136, swaying once in four seconds.
kelp=$(flat <<'E'
st(0,(X-36)/36);st(1,1-Y/136);
st(2,0.30*pow(ld(1),1.6)*sin(2*PI*T/4+2.5*ld(1)));
st(3,0.13*(0.25+sqrt(max(0,1-ld(1))))*(0.75+0.25*sin(40*ld(1))));
st(4,gt(0.97,ld(1))*clip((ld(3)-abs(ld(0)-ld(2)))*20+0.5,0,1));
st(5,gt(0.72,ld(1))*clip((0.9*ld(3)-abs(ld(0)+0.42-0.1*ld(1)-1.2*ld(2)))*20+0.5,0,1));
st(6,gt(0.55,ld(1))*clip((0.9*ld(3)-abs(ld(0)-0.44+0.2*ld(1)-0.9*ld(2)))*20+0.5,0,1));
E
)

sprites() {
  fish_sprite silver '60+150*ld(4)+24*ld(4)*sin(40*ld(0))' '112+112*ld(4)+18*ld(4)*sin(40*ld(0))' '150+86*ld(4)'
  local bands="(clip((0.10-abs(ld(0)-0.36-0.1*ld(1)*ld(1)))*16,0,1)+clip((0.09-abs(ld(0)+0.14))*16,0,1))"
  fish_sprite orange '220+26*ld(4)' "124+36*ld(4)+100*$bands" "28+24*ld(4)+190*$bands"
  ff -f lavfi -i "nullsrc=s=72x136:r=$rate:d=4,format=rgba,geq=r='${kelp}18+34*ld(1)':g='${kelp}74+70*ld(1)+12*sin(40*ld(1))':b='${kelp}62+20*ld(1)':a='${kelp}255*max(ld(4),max(ld(5),ld(6)))'" \
    -c:v ffv1 "$work/kelp.mkv"
  ff -f lavfi -i "nullsrc=s=24x24:r=$rate,format=rgba,geq=r=215:g=245:b=255:a='st(0,hypot(X-11.5,Y-11.5)/11);255*clip((1-ld(0))*8,0,1)*(0.12+0.6*pow(min(ld(0),1),5)+0.7*lt(hypot(X-8,Y-8),2.5))'" \
    -frames:v 1 -c:v ffv1 "$work/bubble.mkv"
}

# --- the scene ----------------------------------------------------------------------------------------------------
# Coordinates are those of 640x360, whatever the size of the film.

# sprite heading width speed x y bob beat     (far fish head to the left and are drawn first)
far_fish="
silver -1 46 15 40 92 5 3
silver -1 40 15 90 112 5 9
silver -1 44 15 130 84 6 14
silver -1 38 15 182 106 4 1
silver -1 44 15 226 92 5 6
silver -1 36 15 64 132 4 12
silver -1 42 15 150 136 6 17"
near_fish="
silver 1 74 30 60 168 9 0
silver 1 84 30 150 142 8 5
silver 1 78 30 142 192 9 11
silver 1 92 30 244 164 10 15
silver 1 72 30 246 206 8 3
silver 1 82 30 330 138 9 8
silver 1 88 30 348 188 8 13
silver 1 70 30 60 214 8 18
silver 1 76 30 430 164 9 10
orange 1 98 24 560 250 7 7
orange 1 76 24 470 272 6 13
orange -1 110 19 300 236 8 2
orange -1 84 19 404 262 6 16"
bubbles="
466 9 38 10
472 6 33 60
460 7 36 150
469 11 41 210
455 5 30 330
96 8 35 40
102 6 31 180
90 10 39 280
474 8 37 300"

graph= layer=0 taken=
px() { echo $(($1 * width / 640)); }
over() { # input x y: lays an input over what is there
  graph+="[layer$layer][$1]overlay=x='$2':y='$3':shortest=1:format=yuv444[layer$((layer + 1))];"
  layer=$((layer + 1))
}
take() { # input name: the next unused copy of an input
  local used
  used=$(grep -c "^$1\$" <<<"$taken" || true)
  taken+=$'\n'$1
  copy=$1$((used + 1))
}
copies() { # input-number name frames count
  local i
  graph+="[$1:v]loop=-1:$3,setpts=N/$rate/TB,split=$4"
  for i in $(seq "$4"); do graph+="[$2$i]"; done
  graph+=";"
}
swim() { # sprite heading width speed x y bob beat tint
  local turn= x
  take "$1"
  if [ "$2" = 1 ]; then
    x="(mod(t*$4+$5+$7*3*sin(t*0.4+$8)+120,880)-120)"
  else
    turn=,hflip
    x="(640+120-$3-mod(t*$4+$5+$7*3*sin(t*0.35+$8)+120,880))"
  fi
  graph+="[$copy]trim=start_frame=$8,setpts=PTS-STARTPTS$turn,scale=$(px "$3"):-2:flags=area$9[swim_$copy];"
  over "swim_$copy" "$x*$width/640" "($6+$7*sin(t*0.7+$8*0.6)+2*$7*sin(t*0.17+$2))*$width/640"
}
plant() { # x width start
  take kelp
  graph+="[$copy]trim=start=$3,setpts=PTS-STARTPTS,scale=$(px "$2"):-2:flags=bicubic[plant_$copy];"
  over "plant_$copy" "$(px "$1")" "H-h+$(px 12)"
}
rise() { # x width speed start
  take bubble
  graph+="[$copy]scale=$(px "$2"):-2:flags=area[rise_$copy];"
  over "rise_$copy" "($1+5*sin(t*2+$4))*$width/640" "(360-mod(t*$3+$4,400))*$width/640"
}
each() { # function lines extra: calls the function with each line's words
  local line
  while read -r line; do
    # shellcheck disable=SC2086
    [ -z "$line" ] || "$1" $line "${3-}"
  done <<<"$2"
}

film() {
  graph="[0:v]framerate=fps=$rate:interp_start=0:interp_end=255:scene=100,scale=$width:$height:flags=bicubic[layer0];"
  copies 1 silver 20 16
  copies 2 orange 20 4
  copies 3 kelp 100 5
  copies 4 bubble 1 9
  each swim "$far_fish" ",colorchannelmixer=rr=0.55:gg=0.8:bb=0.95:aa=0.75"
  plant 18 62 0; plant 580 58 2; plant 530 40 1
  each swim "$near_fish" ""
  each rise "$bubbles"
  plant 66 84 3; plant 612 80 1
  graph+="[layer$layer]format=yuv420p[film]"
  ff -i "$work/sea.mkv" -i "$work/silver.mkv" -i "$work/orange.mkv" -i "$work/kelp.mkv" -i "$work/bubble.mkv" \
    -filter_complex "$graph" -map '[film]' -t "$seconds" -c:v libx264 -preset ultrafast -qp 0 "$work/film.mkv"
}

# Four soft chords of six seconds (Am F C G), and a slow pentatonic bell over them.
music() {
  local voice
  voice() { # shift of the chords, detune: a chord's root, third, fifth and octave under one swell
    echo "st(0,mod(floor((t+$1)/6),4));st(1,mod(t+$1,6)/6);
      st(2,$2*if(eq(ld(0),0),110,if(eq(ld(0),1),87.307,if(eq(ld(0),2),130.813,97.999))));
      st(3,if(eq(ld(0),0),1.189207,1.259921));
      0.09*sin(PI*ld(1))*(sin(2*PI*ld(2)*t)+0.8*sin(2*PI*ld(2)*1.498307*t)+0.6*sin(2*PI*2*ld(2)*t)+0.5*sin(2*PI*2*ld(2)*ld(3)*t+0.6*sin(2*PI*0.3*t)))" | flat
  }
  bell() { # period, start
    echo "st(4,floor((t+$2)/$1));st(5,mod(t+$2,$1));st(6,mod(ld(4)*ld(4)*7+ld(4)*3,5));
      st(7,if(eq(ld(6),0),440,if(eq(ld(6),1),523.251,if(eq(ld(6),2),587.33,if(eq(ld(6),3),659.255,783.991)))));
      0.05*exp(-2.2*ld(5))*min(1,ld(5)*60)*(sin(2*PI*ld(7)*t)+0.3*sin(4*PI*ld(7)*t))" | flat
  }
  ff -f lavfi -i "aevalsrc=exprs='$(voice 0 1)+0*t|$(voice 0 1.003)':s=48000:d=$seconds" \
    -f lavfi -i "aevalsrc=exprs='$(bell 1.5 0)|$(bell 1.5 0.02)':s=48000:d=$seconds" \
    -filter_complex "[0:a]lowpass=f=1400[pad];[1:a]aecho=0.8:0.7:310|470:0.35|0.25[bells];[pad][bells]amix=inputs=2:normalize=0,afade=t=in:d=2,afade=t=out:st=$((seconds - 2)):d=2,volume=1.6,alimiter=limit=0.9[music]" \
    -map '[music]' -t "$seconds" -c:a pcm_s16le "$work/music.wav"
}

# --- the forms ----------------------------------------------------------------------------------------------------

# Key frames every six seconds and nowhere else, so that the renditions' segments line up. Two encoder threads, whatever
# the machine has: x264's output depends on their number.
video=(-c:v libx264 -profile:v main -pix_fmt yuv420p -g $((6 * rate)) -keyint_min $((6 * rate)) -sc_threshold 0 -threads:v 2)
exact=(-fflags +bitexact -flags:v +bitexact -flags:a +bitexact -map_metadata -1)
source=(-i "$work/film.mkv" -i "$work/music.wav")

hls() { # folder stream-map hls-flags option... : encoding directly writes CODECS and RESOLUTION into the master playlist
  local to=$1 map=$2 flags=$3
  shift 3
  mkdir -p "$to"
  ff "${source[@]}" "${streams[@]}" "${video[@]}" "${rates[@]}" -c:a aac -ac 2 "${exact[@]}" \
    -f hls -hls_time 6 -hls_playlist_type vod -hls_flags "independent_segments$flags" "$@" \
    -master_pl_name master.m3u8 -var_stream_map "$map" "$to/%v/index.m3u8"
}
segments_fmp4() { echo "-hls_segment_type fmp4 -hls_fmp4_init_filename init.mp4 -hls_segment_filename $1/%v/segment_%03d.m4s"; }

sprites
sea
film
music

mkdir -p "$out"
both=(-map 0:v -map 1:a -map 0:v -map 1:a)
if [ "$form" = sample ]; then
  streams=("${both[@]}")
  rates=(-preset veryslow -tune animation
    -b:v:0 430k -maxrate:v:0 500k -bufsize:v:0 860k -b:a:0 64k
    -b:v:1 135k -maxrate:v:1 160k -bufsize:v:1 270k -filter:v:1 scale=320:180:flags=bicubic -b:a:1 48k)
  # shellcheck disable=SC2046
  hls "$out" "v:0,a:0,name:360p v:1,a:1,name:180p" "" $(segments_fmp4 "$out")
else
  rates=(-preset veryfast
    -b:v:0 2500k -maxrate:v:0 2700k -bufsize:v:0 5000k -b:a:0 128k
    -b:v:1 800k -maxrate:v:1 900k -bufsize:v:1 1600k -filter:v:1 scale=640:360:flags=bicubic -b:a:1 96k)
  streams=("${both[@]}")
  hls "$out/ts" "v:0,a:0,name:720p v:1,a:1,name:360p" "" -hls_segment_filename "$out/ts/%v/segment_%03d.ts"
  # shellcheck disable=SC2046
  hls "$out/fmp4" "v:0,a:0,name:720p v:1,a:1,name:360p" "" $(segments_fmp4 "$out/fmp4")
  hls "$out/ranges" "v:0,a:0,name:720p v:1,a:1,name:360p" "+single_file" \
    -hls_segment_type fmp4 -hls_segment_filename "$out/ranges/%v/film.mp4"
  streams=(-map 0:v -map 0:v -map 1:a)
  # shellcheck disable=SC2046
  hls "$out/audio" "v:0,agroup:sound,name:720p v:1,agroup:sound,name:360p a:0,agroup:sound,default:yes,language:en,name:sound" "" \
    $(segments_fmp4 "$out/audio")
  ff "${source[@]}" -map 0:v -map 1:a "${video[@]}" -preset veryfast -b:v 2500k -maxrate 2700k -bufsize 5000k \
    -c:a aac -ac 2 -b:a 128k "${exact[@]}" -movflags +faststart "$out/film.mp4"
fi
du -sh "$out"
